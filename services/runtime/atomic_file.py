"""Files that are there whole or not at all, under names that anything may have."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path


def name_of(text: str) -> str:
    """A file name for what may hold anything."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def write(path: Path, content: bytes) -> None:
    """Written beside its place, then moved there; folders are made for us alone. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.parent / f".{secrets.token_hex(8)}"
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
