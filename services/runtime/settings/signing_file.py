"""The file with the secrets that sign records: made once, shared by all services, private to their user."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from pathlib import Path

from services.contract import canonical, timestamps
from services.contract.signature import Signer
from services.runtime.settings.problems import SettingsError

FILE = Path(".braid") / "signing.json"
SECRET_CHARS = 16, 256
_REPAIR = "Copy the file from where `braid topics apply` made it, or set BRAID_KAFKA__SIGNING_SECRETS."


def read_signing_file(path: Path) -> Signer:
    """Return the signer of a file; one without secrets if there is no file.

    Raises:
        SettingsError: The file cannot be read, or holds something else.
    """
    try:
        fields = canonical.loads_object(path.read_bytes())
        signing_secrets, before = fields["secrets"], fields.get("accept_unsigned_before")
        if not isinstance(signing_secrets, list) or not signing_secrets:
            raise ValueError("`secrets` is not a list of texts")
        for secret in signing_secrets:
            if not isinstance(secret, str) or not SECRET_CHARS[0] <= len(secret) <= SECRET_CHARS[1]:
                raise ValueError(f"a secret has {SECRET_CHARS[0]} to {SECRET_CHARS[1]} characters")
        before_us = timestamps.parse(before) if isinstance(before, str) else 0
        if before_us is None:
            raise ValueError("`accept_unsigned_before` is not an RFC 3339 time stamp")
    except (FileNotFoundError, NotADirectoryError):
        return Signer()
    except OSError as error:
        raise SettingsError(f"The signing secrets in {path} cannot be read.", f"{error.strerror}.", _REPAIR) from None
    except (canonical.InvalidJson, KeyError, ValueError) as error:
        raise SettingsError(f"{path} does not hold signing secrets.", f"{error}.", _REPAIR) from None
    return Signer(tuple(secret.encode() for secret in signing_secrets), before_us // 1000)


def create_signing_file(path: Path, accept_unsigned_before_us: int) -> None:
    """Create the file with a new secret, unless another process was first.

    Args:
        path: The file.
        accept_unsigned_before_us: See `Signer`; 0 for topics that are as new as the secret.

    Raises:
        OSError: The file cannot be written.
    """
    fields: dict[str, object] = {"secrets": [secrets.token_hex(32)]}
    if accept_unsigned_before_us:
        fields["accept_unsigned_before"] = timestamps.format_us(accept_unsigned_before_us)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.parent / f".{secrets.token_hex(8)}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(json.dumps(fields, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        # Unlike a rename, a link never replaces the secret that another process has made meanwhile.
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temporary)
    finally:
        temporary.unlink()
