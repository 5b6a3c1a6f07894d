"""A disk of limited size for the state folder of a run, a file system in a file, which can be filled and emptied."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CHUNKS = (1 << 30, 1 << 24, 1 << 18, 1 << 12)


class MountError(Exception):
    """A disk that cannot be made or mounted here."""


class SmallDisk:
    """A mounted disk.

    Attributes:
        folder: Where it is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        """Take all the space that is left, also what was released since the last call."""
        with self._ballast.open("ab") as file:
            for size in CHUNKS:
                with suppress(OSError):
                    while True:
                        os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)

    def empty(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)


@contextmanager
def mounted_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    """Mount a disk of this size (bytes) in a folder; at the end keep only its logs, beside it. Raises MountError."""
    image, mount_point = folder / "disk.img", folder / "disk"
    mount_point.mkdir(parents=True, exist_ok=True)
    with image.open("wb") as file:
        file.truncate(size)  # a sparse file
    _system("mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", str(image))
    _system("mount", "-o", "loop", str(image), str(mount_point))
    try:
        (mount_point / "lost+found").rmdir()
        yield SmallDisk(mount_point)
    finally:
        for log in mount_point.glob("*.log"):
            shutil.copy(log, folder)
        _system("umount", str(mount_point))
        image.unlink()


def _system(*command: str) -> None:
    program = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin")
    if program is None:
        raise MountError(f"there is no {command[0]}")
    done = subprocess.run([program, *command[1:]], capture_output=True, text=True, check=False)
    if done.returncode:
        raise MountError(f"{command[0]}: {(done.stderr or done.stdout).strip()}")
