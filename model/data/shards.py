"""Read data files that lie in a folder or in a tar shard beside it, as WebDataset packs them."""

from __future__ import annotations

import errno
import os
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

OPEN_SHARDS_MAX = 16


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file on disk, or one member of a shard: `size` bytes from `offset` on."""

    path: Path
    offset: int
    size: int

    def read_bytes(self) -> bytes:
        """Return the content."""
        with self.path.open("rb") as container:
            container.seek(self.offset)
            return container.read(self.size)


def find_file(path: Path) -> DataFile:
    """Locate a file: `set/hand/1.jpg` on disk, else the member `hand/1.jpg` of the shard `set/hand.tar`.

    Raises:
        OSError: If neither exists, or if the shard is not an uncompressed tar file.
    """
    if path.is_file():
        return DataFile(path, 0, path.stat().st_size)
    for folder in path.parents:
        member = _members_beside(folder).get(path.relative_to(folder.parent).as_posix())
        if member is not None:
            return member
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))


def list_files(folder: Path) -> list[Path]:
    """Return the paths of a folder's files, on disk or in its shard, sorted; `find_file` locates each of them."""
    packed = {folder.parent / name for name in _members_beside(folder)}
    return sorted(packed.union(path for path in folder.glob("*") if path.is_file()))


def _members_beside(folder: Path) -> Mapping[str, DataFile]:
    """Return the members of the shard of a folder by name; none if it has no shard."""
    shard = folder.parent / f"{folder.name}.tar"
    try:
        return _members(shard, shard.stat().st_mtime_ns) if folder.name else {}
    except (FileNotFoundError, NotADirectoryError):
        return {}


@lru_cache(OPEN_SHARDS_MAX)
def _members(shard: Path, modified_ns: int) -> Mapping[str, DataFile]:
    """Index a shard by the headers of its members; `modified_ns` makes a rewritten shard another key."""
    try:
        with tarfile.open(shard, "r:") as members:
            return {
                member.name.removeprefix("./"): DataFile(shard, member.offset_data, member.size)
                for member in members
                if member.isreg() and not member.issparse()
            }
    except tarfile.TarError as error:
        raise OSError(errno.EINVAL, f"not an uncompressed tar file ({error})", str(shard)) from error
