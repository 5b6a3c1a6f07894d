"""Files that are written completely or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path


def hashed_name(text: str) -> str:
    """Return a file name for a text with any characters."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def write_atomically(path: Path, content: bytes) -> None:
    """Write a temporary file in the same folder, then rename it; new folders are private to this user. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.parent / f".{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
