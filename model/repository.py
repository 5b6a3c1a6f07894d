"""The model repository: `<name>/<version>/`, where a folder of versions means its newest."""

from __future__ import annotations

import re
from pathlib import Path

SUMS = "sha256"


def serving(path: Path) -> Path:
    """The checkpoint that a path means: itself, or of a folder of versions the newest (10 is newer than 9).

    A version counts once its file of sums is there: it is written last. A path without any is returned as it is.
    """
    if (path / SUMS).exists():
        return path
    versions = [found.parent for found in path.glob(f"*/{SUMS}")]
    return max(versions, key=_age, default=path)


def _age(version: Path) -> list[tuple[int, str]]:
    """Runs of figures count as numbers, so that versions are in the order in which people number them."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.findall(r"\d+|\D+", version.name)]
