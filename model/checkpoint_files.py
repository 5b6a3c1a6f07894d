"""The files of a checkpoint: which one a path means, and whether they are whole. Without torch, for processes that predict nothing."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from services.contract.user_errors import BraidError

CHECKSUMS = "sha256"
WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "card.md"
BYTES_MAX = 512 * 1024 * 1024
CONFIG_BYTES_MAX, SUMS_BYTES_MAX = 64 * 1024 * 1024, 64 * 1024


def resolve_checkpoint(path: Path) -> Path:
    """Return the checkpoint that a path means: itself, or the newest version in a folder of versions (10 is newer than 9).

    A version counts once its checksum file exists, which is written last. A path without any version is returned as it is.
    """
    if (path / CHECKSUMS).exists():
        return path
    versions = [checksums.parent for checksums in path.glob(f"*/{CHECKSUMS}")]
    return max(versions, key=_version_key, default=path)


def _version_key(version: Path) -> list[tuple[int, str]]:
    """Return a sort key in which runs of digits count as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", version.name)]


class CheckpointError(BraidError):
    """A checkpoint that cannot be used; the message says what happened, why and what to do."""


class IncompleteCheckpoint(CheckpointError):
    """A checkpoint of which a file is missing or differs from its checksum: it may still be being copied."""


def model_digest(weights: bytes, config: bytes) -> str:
    """Return the digest of a model: of weights and config, hence also of batch shape and thread count."""
    return hashlib.sha256(hashlib.sha256(weights).digest() + hashlib.sha256(config).digest()).hexdigest()


def verify(folder: Path) -> dict[str, bytes]:
    """Read the files of a checkpoint (or of the newest version in a folder) and check them against their checksums.

    Raises:
        IncompleteCheckpoint: If a file is missing or differs from its checksum.
    """
    folder = resolve_checkpoint(folder)
    try:
        lines = (
            line.partition("  ") for line in _read_limited(folder / CHECKSUMS, SUMS_BYTES_MAX).decode().splitlines()
        )
        sums = {name: sum_ for sum_, _, name in lines}
        limits = {WEIGHTS: BYTES_MAX, CONFIG: CONFIG_BYTES_MAX, CARD: CONFIG_BYTES_MAX}
        files = {name: _read_limited(folder / name, bytes_max) for name, bytes_max in limits.items()}
    except (OSError, ValueError) as error:
        raise IncompleteCheckpoint(
            f"There is no checkpoint in {folder}.",
            f"{error}. A checkpoint is a folder with {WEIGHTS}, {CONFIG}, {CARD} and {CHECKSUMS}.",
            "Correct the path (the setting fusion.model), or make one with `braid train`.",
        ) from error
    for name, content in files.items():
        if sums.get(name) != hashlib.sha256(content).hexdigest():
            raise IncompleteCheckpoint(
                f"{folder / name} does not match its checksum in {CHECKSUMS}.",
                "It was changed or cut off.",
                "Restore it, or train again.",
            )
    return files


def _read_limited(path: Path, bytes_max: int) -> bytes:
    if path.stat().st_size > bytes_max:
        raise ValueError(f"{path} is larger than {bytes_max} bytes")
    return path.read_bytes()
