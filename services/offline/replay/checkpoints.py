"""Which checkpoint a replay answers by: the recorded one where it is there, else the one that serves."""

from __future__ import annotations

from pathlib import Path

from model.checkpoint import CONFIG, SUMS, WEIGHTS, CheckpointError, digest_of, serving, verify


def find_checkpoint(path: Path, digest: str | None) -> Path:
    """The checkpoint of this digest at a path or beside it as a version; else what the path means."""
    serves = serving(path)
    if digest is None or _digest(serves) == digest:
        return serves
    versions = sorted(found.parent for found in path.glob(f"*/{SUMS}"))
    return next((version for version in versions if _digest(version) == digest), serves)


def _digest(folder: Path) -> str | None:
    try:
        files = verify(folder)
    except CheckpointError:
        return None
    return digest_of(files[WEIGHTS], files[CONFIG])
