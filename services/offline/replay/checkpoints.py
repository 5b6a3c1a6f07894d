"""Which checkpoint a replay answers by: the recorded one where it is there, else the one that serves."""

from __future__ import annotations

from pathlib import Path

from model.checkpoint import CHECKSUMS, CONFIG, WEIGHTS, CheckpointError, model_digest, resolve_checkpoint, verify


def find_checkpoint(path: Path, digest: str | None) -> Path:
    """The checkpoint of this digest at a path or beside it as a version; else what the path means."""
    serves = resolve_checkpoint(path)
    if digest is None or _digest(serves) == digest:
        return serves
    versions = sorted(found.parent for found in path.glob(f"*/{CHECKSUMS}"))
    return next((version for version in versions if _digest(version) == digest), serves)


def _digest(folder: Path) -> str | None:
    try:
        files = verify(folder)
    except CheckpointError:
        return None
    return model_digest(files[WEIGHTS], files[CONFIG])
