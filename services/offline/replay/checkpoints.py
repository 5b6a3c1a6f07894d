"""Find the checkpoint of a replay: the one that was recorded if it is there, else the one that serves."""

from __future__ import annotations

from pathlib import Path

from model.checkpoint_files import CHECKSUMS, CONFIG, WEIGHTS, CheckpointError, model_digest, resolve_checkpoint, verify


def find_checkpoint(path: Path, digest: str | None) -> Path:
    """Return the checkpoint with this digest at a path or among the versions in it; else the one that serves."""
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
