"""The shards hold the recorded files byte for byte and are read like folders."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from model.data.example import Example
from model.data.shards import find_file, list_files
from model.sample_manifest import read_example
from services.runtime.settings import ROOT

DATA = ROOT / "data"
# The number of files and the SHA-256 over "name NUL length NUL bytes" of each, as the sets were recorded.
CONTENT = {
    "tridigit/hand": (1434, "1931d61510361cb80b5cc66c93fdc693405ef7219056fc933026bf7b0f6b366e"),
    "tridigit/speech": (2100, "7db566f4c0288b88ddb69794eb8de5d2a56e6c253b70a62d903470cb9cbb5d1e"),
    "tridigit/noise8k": (57, "9f7b463fb82a7cd6bc5b81986f7bc245820d8fae7818973c65ef8b1022753cd7"),
    "homesound10/audio": (290, "357f1f750dd33d52ee227d4884022050cfa5be4a4540948624fceef7163a91fc"),
}


def pack(shard: Path, members: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(shard, mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))


@pytest.mark.parametrize("folder", CONTENT)
def test_a_shard_holds_the_recorded_bytes(folder: str) -> None:
    digest = hashlib.sha256()
    paths = [path for path in list_files(DATA / folder) if path.suffix != ".jsonl"]
    for path in paths:
        content = find_file(path).read_bytes()
        digest.update(f"{path.parent.name}/{path.name}\0{len(content)}\0".encode() + content)
    assert (len(paths), digest.hexdigest()) == CONTENT[folder]


@pytest.mark.parametrize("folder", CONTENT)
def test_a_shard_is_sorted_and_free_of_owners_and_times(folder: str) -> None:
    with tarfile.open(DATA / f"{folder}.tar", "r:") as archive:
        members = archive.getmembers()
    assert [m.name for m in members] == sorted(m.name for m in members)
    assert {(m.mtime, m.uid, m.gid, m.mode, m.isreg()) for m in members} == {(0, 0, 0, 0o644, True)}
    # WebDataset uses the part of a name before the first dot as the key of a sample.
    assert all(m.name.count(".") == 1 for m in members)


def test_a_file_on_disk_wins_over_a_member_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.txt").write_bytes(b"file")
    pack(tmp_path / "a.tar", {"a/1.txt": b"member", "a/b/2.txt": b"deep"})
    assert find_file(tmp_path / "a" / "1.txt").read_bytes() == b"file"
    assert find_file(tmp_path / "a" / "b" / "2.txt").read_bytes() == b"deep"
    assert [path.name for path in list_files(tmp_path / "a")] == ["1.txt", "2.txt"]


def test_a_rewritten_shard_is_indexed_again(tmp_path: Path) -> None:
    shard = tmp_path / "a.tar"
    for number, content in enumerate((b"first", b"second, longer")):
        pack(shard, {"./a/1.txt": content})
        os.utime(shard, ns=(number, number))
        assert find_file(tmp_path / "a" / "1.txt").read_bytes() == content


def test_a_missing_file_and_a_compressed_shard_are_os_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"a/1\.txt"):
        find_file(tmp_path / "a" / "1.txt")
    pack(tmp_path / "a.tar", {"a/1.txt": b""}, "w:gz")
    with pytest.raises(OSError, match="uncompressed"):
        find_file(tmp_path / "a" / "1.txt")


def test_a_manifest_may_name_members_of_a_shard(tmp_path: Path) -> None:
    photo = (ROOT / "examples" / "seven.jpg").read_bytes()
    (tmp_path / "seven.jpg").write_bytes(photo)
    pack(tmp_path / "photos.tar", {"photos/seven.jpg": photo})
    examples = [read_example({"id": "1", "image": name}, tmp_path) for name in ("seven.jpg", "photos/seven.jpg")]
    pixels = [example.video for example in examples if isinstance(example, Example) and example.video is not None]
    single, packed = pixels
    assert np.array_equal(single, packed)
