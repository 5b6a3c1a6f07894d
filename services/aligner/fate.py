"""Fates: what becomes of a chunk."""

from __future__ import annotations

from dataclasses import dataclass

from services.contract.reason import Rejected


@dataclass(frozen=True, slots=True)
class Windowed:
    """The chunk stands in at least one open window."""


WINDOWED = Windowed()


@dataclass(frozen=True, slots=True)
class Late:
    """Every window of the chunk was closed for its modality: their starts, and how far the bound was past the last."""

    missed_us: tuple[int, ...]
    behind_us: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A copy of a chunk that is still known, with the same bytes."""


Fate = Windowed | Late | Duplicate | Rejected


def name_of(fate: Fate) -> str:
    """windowed, late, duplicate, or the code of the reason for a refusal."""
    return fate.reason.value if isinstance(fate, Rejected) else type(fate).__name__.lower()
