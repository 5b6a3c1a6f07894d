"""The settings that are part of the result: what a window contains depends on these and on the logs alone.

The record by which an owner of a partition number tells its settings, in the frontier topic beside the frontiers.

Whoever finds windows of other settings can so close them under the very settings that opened them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from services.contract import canonical

CONTRACT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Lateness:
    """How one modality's own log is read: disorder allowed inside it, and whether its chunks leave no gaps."""

    lateness_us: int
    gapless: bool


@dataclass(frozen=True, slots=True)
class Admission:
    """The limits of admission; all maxima are inclusive."""

    payload_bytes_max: int = 1_000_000
    pixels_max: int = 4096 * 4096
    text_bytes_max: int = 8_192
    session_bytes_max: int = 128
    name_bytes_max: int = 256
    header_bytes_max: int = 8_192


def _default_lanes() -> dict[str, Lateness]:
    return {"text": Lateness(500_000, False), "video": Lateness(500_000, False), "audio": Lateness(300_000, True)}


@dataclass(frozen=True, slots=True)
class Semantics:
    """Everything that decides fates, windows and masks; times in microseconds, all frozen into `config`."""

    size_us: int = 2_000_000
    hop_us: int = 500_000
    lanes: dict[str, Lateness] = field(default_factory=_default_lanes)
    sessions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    future_us: int = 60_000_000
    stale_after_us: int = 24 * 3_600_000_000
    max_duration_us: int = 30_000_000
    members_max: int = 256
    event_gap_us: int = 10_000_000
    admission: Admission = Admission()
    contract: int = CONTRACT_VERSION

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.lanes)

    @property
    def config(self) -> str:
        """12 hex digits that name these settings in every window and frontier record."""
        return hashlib.sha256(canonical.dumps(self.as_json())).hexdigest()[:12]

    def as_json(self) -> dict[str, Any]:
        """All fields by name; `semantics_of` reads it back."""
        return asdict(self)

    def declared(self, session: str) -> tuple[str, ...]:
        """The modalities that a session has: of the first pattern that matches it, else all."""
        for pattern, modalities in self.sessions:
            if fnmatchcase(session, pattern):
                return tuple(m for m in self.lanes if m in modalities)
        return self.modalities

    def windows_of(self, t_us: int, duration_us: int) -> range:
        """Starts of the windows that [t, t + duration) overlaps; a point occupies its own microsecond."""
        hop_us = self.hop_us
        first = (t_us - self.size_us) // hop_us + 1
        beyond = (t_us + (duration_us or 1) - 1) // hop_us + 1
        return range(first * hop_us, beyond * hop_us, hop_us)

    def close_us(self, start_us: int, modality: str) -> int:
        """What the bound of a modality must reach to close the window that starts there."""
        return start_us + self.size_us + self.lanes[modality].lateness_us


def semantics_of(told: Mapping[str, Any]) -> Semantics:
    """The settings that `as_json` told. Raises KeyError, TypeError or ValueError for what is none."""
    found = Semantics(
        **{
            **told,
            "lanes": {name: Lateness(**lane) for name, lane in told["lanes"].items()},
            "sessions": tuple((pattern, tuple(modalities)) for pattern, modalities in told["sessions"]),
            "admission": Admission(**told["admission"]),
        }
    )
    if found.contract != CONTRACT_VERSION:
        raise ValueError(f"settings of contract version {found.contract}, this is {CONTRACT_VERSION}")
    return found


_PREFIX = b"\0settings\0"


def key(config: str) -> bytes:
    """One key for each settings; no session has it, since a session's key begins with its name."""
    return _PREFIX + config.encode()


def is_key(raw: bytes) -> bool:
    """True for the key of such a record."""
    return raw.startswith(_PREFIX)


def encode(semantics: Semantics) -> bytes:
    """The canonical bytes."""
    return canonical.dumps({"config": semantics.config, "semantics": semantics.as_json()})


def read(raw: bytes) -> Semantics | None:
    """The settings, None for what cannot be read or is of another contract."""
    try:
        told = canonical.loads_object(raw)
        found = semantics_of(told["semantics"])
    except (canonical.InvalidJson, KeyError, TypeError, ValueError, AttributeError):
        return None
    return found if found.config == told["config"] else None
