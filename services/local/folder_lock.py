"""The lock of a state folder: one process at a time uses the Kafka, the Redis and the logs in it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import IO, Any

import psutil

from services.contract.user_errors import BraidError


class FolderInUseError(BraidError):
    """A state folder that another process uses."""


class FolderLock:
    """An exclusive lock of a folder that names its holder; the kernel releases it when the process ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Lock the folder. Raises FolderInUseError, which names the process that has it."""
        # Opened without truncation: the content is that of the holder, which another process must be able to read.
        file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with file:
                raise self._in_use(file) from None
        self._file = file
        self._write({"pid": os.getpid(), "since": time.time(), "command": " ".join(psutil.Process().cmdline())})

    def describe(self, use: str) -> None:
        """Add for what the folder is used (as the address of the page), for the message to a second process."""
        if self._file is not None:
            self._write({**_content(self._file), "use": use})

    def release(self) -> None:
        """Unlock the folder; nothing happens if it is not locked by this object."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None

    def _write(self, content: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.truncate(0)
            self._file.write(json.dumps(content))
            self._file.flush()

    def _in_use(self, file: IO[str]) -> FolderInUseError:
        holder, folder = _content(file), self._path.parent
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(holder.get("since", 0))))
        process = f"Process {holder['pid']} ({holder.get('command')}) since {since}" if "pid" in holder else "A process"
        use = f": {holder['use']}" if "use" in holder else ""
        return FolderInUseError(
            f"The folder {folder} is in use.",
            f"{process} runs its Kafka and Redis there{use}.",
            f"Use what runs, or stop it (kill {holder.get('pid', 'PID')}), or take another folder: `braid up --folder DIR`.",
        )


def _content(file: IO[str]) -> dict[str, Any]:
    """Return what the lock file says; nothing if its holder is writing it just now."""
    file.seek(0)
    try:
        content = json.loads(file.read())
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
