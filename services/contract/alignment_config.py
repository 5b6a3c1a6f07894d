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
class StreamConfig:
    """How one modality's own log is read: disorder allowed inside it, and whether its chunks leave no gaps."""

    lateness_us: int
    gapless: bool


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
    """The limits of admission; all maxima are inclusive."""

    payload_bytes_max: int = 1_000_000
    pixels_max: int = 4096 * 4096
    text_bytes_max: int = 8_192
    session_bytes_max: int = 128
    name_bytes_max: int = 256
    header_bytes_max: int = 8_192


def _default_lanes() -> dict[str, StreamConfig]:
    return {
        "text": StreamConfig(500_000, False),
        "video": StreamConfig(500_000, False),
        "audio": StreamConfig(300_000, True),
    }


@dataclass(frozen=True, slots=True)
class AlignmentConfig:
    """Everything that decides fates, windows and masks; times in microseconds, all frozen into `config`."""

    size_us: int = 2_000_000
    hop_us: int = 500_000
    streams: dict[str, StreamConfig] = field(default_factory=_default_lanes)
    sessions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    future_us: int = 60_000_000
    stale_after_us: int = 24 * 3_600_000_000
    max_duration_us: int = 30_000_000
    members_max: int = 256
    event_gap_us: int = 10_000_000
    admission: AdmissionLimits = AdmissionLimits()
    contract: int = CONTRACT_VERSION

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.streams)

    @property
    def digest(self) -> str:
        """12 hex digits that name these settings in every window and frontier record."""
        return hashlib.sha256(canonical.dumps(self.to_json())).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """Return all fields by name, as `config_from_json` reads them."""
        fields = asdict(self)
        # Records and the digest call the settings of the streams `lanes`.
        return {"lanes": fields.pop("streams"), **fields}

    def modalities_of(self, session: str) -> tuple[str, ...]:
        """The modalities that a session has: of the first pattern that matches it, else all."""
        for pattern, modalities in self.sessions:
            if fnmatchcase(session, pattern):
                return tuple(m for m in self.streams if m in modalities)
        return self.modalities

    def window_starts(self, t_us: int, duration_us: int) -> range:
        """Starts of the windows that [t, t + duration) overlaps; a point occupies its own microsecond."""
        hop_us = self.hop_us
        first = (t_us - self.size_us) // hop_us + 1
        beyond = (t_us + (duration_us or 1) - 1) // hop_us + 1
        return range(first * hop_us, beyond * hop_us, hop_us)

    def closing_watermark_us(self, start_us: int, modality: str) -> int:
        """What the bound of a modality must reach to close the window that starts there."""
        return start_us + self.size_us + self.streams[modality].lateness_us


def config_from_json(told: Mapping[str, Any]) -> AlignmentConfig:
    """The settings that `as_json` told. Raises KeyError, TypeError or ValueError for what is none."""
    found = AlignmentConfig(
        **{
            **{name: value for name, value in told.items() if name != "lanes"},
            "streams": {name: StreamConfig(**stream) for name, stream in told["lanes"].items()},
            "sessions": tuple((pattern, tuple(modalities)) for pattern, modalities in told["sessions"]),
            "admission": AdmissionLimits(**told["admission"]),
        }
    )
    if found.contract != CONTRACT_VERSION:
        raise ValueError(f"settings of contract version {found.contract}, this is {CONTRACT_VERSION}")
    return found


_PREFIX = b"\0settings\0"


def record_key(config: str) -> bytes:
    """One key for each settings; no session has it, since a session's key begins with its name."""
    return _PREFIX + config.encode()


def is_record_key(raw: bytes) -> bool:
    """True for the key of such a record."""
    return raw.startswith(_PREFIX)


def encode_record(semantics: AlignmentConfig) -> bytes:
    """The canonical bytes."""
    return canonical.dumps({"config": semantics.digest, "semantics": semantics.to_json()})


def decode_record(raw: bytes) -> AlignmentConfig | None:
    """The settings, None for what cannot be read or is of another contract."""
    try:
        told = canonical.loads_object(raw)
        found = config_from_json(told["semantics"])
    except (canonical.InvalidJson, KeyError, TypeError, ValueError, AttributeError):
        return None
    return found if found.digest == told["config"] else None
