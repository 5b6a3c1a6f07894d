"""The alignment settings: together with the media logs, only these decide what a window contains.

Each aligner also publishes its settings to the frontier topic, so that a migration to other settings can close open
windows under the settings that opened them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from dataclasses import fields as dataclass_fields
from fnmatch import fnmatchcase
from typing import Any

from services.contract import canonical

CONTRACT_VERSION = 1
ARRIVAL = "arrival"
# That of versions without the setting.
FORMER_ISOLATION_LEVEL = "read_uncommitted"


def device_of(source: str, names: Collection[str]) -> str | None:
    """Return the name under which a source is known: its own, else that of its device (`/devices/<name>/…`)."""
    if source in names:
        return source
    _, _, rest = source.partition("/devices/")
    name = rest.partition("/")[0]
    return name if name and name in names else None


@dataclass(frozen=True, slots=True)
class StreamConfig:
    """Allowed disorder within the log of a modality, and whether its chunks leave no gaps."""

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


@dataclass(frozen=True, slots=True)
class Quotas:
    """What one source, and one session in one modality, may send; counted for each hop of event time.

    A chunk counts in the hop in which the last of its windows starts, at most `per_hop` of a rate; the first chunk there
    is always within the quota. Pixels are those of `media_headers.decode_pixels`.

    Attributes:
        source_sessions_max: Sessions to which one source may send in one log within `quota_period_us`; None for no
            limit, as in settings that were written before this quota existed.
    """

    source_records_per_s: int = 120
    source_bytes_per_s: int = 8_000_000
    source_pixels_per_s: int = 24_000_000
    session_bytes_per_s: int = 16_000_000
    session_pixels_per_s: int = 48_000_000
    session_sources_max: int = 32
    source_sessions_max: int | None = 100


# The most bytes of a member in a window record, without source and id; each character of these takes up to 6.
MEMBER_BYTES, NAME_CHARACTER_BYTES = 200, 6


def member_bytes(source: str, id: str) -> int:
    """Return the most bytes that a member of this source and id takes in a window record."""
    return MEMBER_BYTES + NAME_CHARACTER_BYTES * (len(source) + len(id))


def _default_streams() -> dict[str, StreamConfig]:
    return {
        "text": StreamConfig(500_000, False),
        "video": StreamConfig(500_000, False),
        "audio": StreamConfig(300_000, True),
    }


@dataclass(frozen=True, slots=True)
class AlignmentConfig:
    """Everything that decides fates, windows and masks; its digest is the `config` of a window record.

    Attributes:
        lead_us: How far a chunk may raise the watermark beyond its own append time; None for no limit, as in settings
            that were written before this limit existed.
        clocks: By device or source (see `device_of`), `arrival` if the event time of its records is their append time.
            An entry `device` exempts one source of such a device.
    """

    size_us: int = 2_000_000
    hop_us: int = 500_000
    streams: dict[str, StreamConfig] = field(default_factory=_default_streams)
    sessions: tuple[tuple[str, tuple[str, ...]], ...] = ()
    future_us: int = 5_000_000
    lead_us: int | None = 250_000
    stale_after_us: int = 24 * 3_600_000_000
    max_duration_us: int = 30_000_000
    members_max: int = 256
    window_bytes_max: int | None = 1_000_000
    event_gap_us: int = 10_000_000
    isolation_level: str = "read_committed"
    admission: AdmissionLimits = AdmissionLimits()
    quotas: Quotas | None = Quotas()
    clocks: tuple[tuple[str, str], ...] = ()
    contract: int = CONTRACT_VERSION

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return the names of all modalities."""
        return tuple(self.streams)

    @property
    def digest(self) -> str:
        """Return the 12 hex digits that identify these settings in window and frontier records."""
        return hashlib.sha256(canonical.dumps(self.to_json())).hexdigest()[:12]

    def to_json(self) -> dict[str, Any]:
        """Return all fields by name, as `config_from_json` reads them."""
        fields = asdict(self)
        # Earlier versions had none of these. Left out, their settings keep their digest and can be migrated.
        for name in ("lead_us", "quotas", "window_bytes_max"):
            if fields[name] is None:
                del fields[name]
        if self.quotas is not None and self.quotas.source_sessions_max is None:
            del fields["quotas"]["source_sessions_max"]
        if not self.clocks:
            del fields["clocks"]
        if self.isolation_level == FORMER_ISOLATION_LEVEL:
            del fields["isolation_level"]
        # Records and the digest call the settings of the streams `lanes`.
        return {"lanes": fields.pop("streams"), **fields}

    def modalities_of(self, session: str) -> tuple[str, ...]:
        """Return the modalities of a session: those of the first pattern that matches it, otherwise all."""
        for pattern, modalities in self.sessions:
            if fnmatchcase(session, pattern):
                return tuple(m for m in self.streams if m in modalities)
        return self.modalities

    def uses_append_time(self, source: str) -> bool:
        """Return whether the event time of a source's records is their append time."""
        clocks = dict(self.clocks)
        return clocks.get(device_of(source, clocks) or source) == ARRIVAL

    def window_starts(self, t_us: int, duration_us: int) -> range:
        """Return the starts of the windows that [t, t + duration) overlaps; a point lasts one microsecond."""
        hop_us = self.hop_us
        first = (t_us - self.size_us) // hop_us + 1
        beyond = (t_us + (duration_us or 1) - 1) // hop_us + 1
        return range(first * hop_us, beyond * hop_us, hop_us)

    def per_hop(self, rate_per_s: int) -> int:
        """Return how much of a quota per second one hop has, at least 1."""
        return max(rate_per_s * self.hop_us // 1_000_000, 1)

    @property
    def quota_period_us(self) -> int:
        """Return the length of the periods of append time in which the sessions of a source are counted.

        About as long as a session of a single chunk stays open: its windows, the lateness and the idle timeout.
        """
        return 5 * self.size_us

    @property
    def members_bytes_max(self) -> int | None:
        """Return the bytes of a window record that the members of one modality may take; None for no limit.

        Each member counts with at least its share, which is this divided by `members_max`.
        """
        return None if self.window_bytes_max is None else self.window_bytes_max // len(self.streams)

    def closing_watermark_us(self, start_us: int, modality: str) -> int:
        """Return the watermark at which a modality closes the window that starts at `start_us`."""
        return start_us + self.size_us + self.streams[modality].lateness_us


def config_from_json(fields: Mapping[str, Any]) -> AlignmentConfig:
    """Build the settings from the output of `to_json`. Raises KeyError, TypeError or ValueError if it is invalid."""
    config = AlignmentConfig(
        **{
            "window_bytes_max": None,
            "lead_us": None,
            "isolation_level": FORMER_ISOLATION_LEVEL,
            **{name: value for name, value in fields.items() if name != "lanes"},
            "streams": {name: StreamConfig(**stream) for name, stream in fields["lanes"].items()},
            "sessions": tuple((pattern, tuple(modalities)) for pattern, modalities in fields["sessions"]),
            "admission": AdmissionLimits(**fields["admission"]),
            "quotas": Quotas(**{"source_sessions_max": None, **fields["quotas"]}) if "quotas" in fields else None,
            "clocks": tuple((name, clock) for name, clock in fields.get("clocks", ())),
        }
    )
    for part in (config, config.admission, config.quotas, *config.streams.values()):
        if part is not None:
            _check_types(part)
    for name in (*(pattern for pattern, _ in config.sessions), *(name for clock in config.clocks for name in clock)):
        if not isinstance(name, str):
            raise TypeError("a pattern of sessions or the clock of a device is not a text")
    if config.contract != CONTRACT_VERSION:
        raise ValueError(f"settings of contract version {config.contract}, this is {CONTRACT_VERSION}")
    return config


_SCALARS = {
    "int": (int,),
    "int | None": (int, type(None)),
    "bool": (bool,),
    "str": (str,),
    "str | None": (str, type(None)),
}


def _check_types(part: Any) -> None:
    """Raise TypeError where a value of a dataclass has another type than its field."""
    for one in dataclass_fields(part):
        allowed = _SCALARS.get(str(one.type))
        if allowed is not None and type(getattr(part, one.name)) not in allowed:
            raise TypeError(f"{one.name} has another type")


_PREFIX = b"\0settings\0"


def record_key(config: str) -> bytes:
    """Return the key of the record of these settings; frontier keys begin with a session name, so none is equal."""
    return _PREFIX + config.encode()


def is_record_key(raw: bytes) -> bool:
    """Return True for the key of a settings record."""
    return raw.startswith(_PREFIX)


def encode_record(config: AlignmentConfig) -> bytes:
    """Return the canonical bytes of a settings record."""
    return canonical.dumps({"config": config.digest, "semantics": config.to_json()})


def decode_record(raw: bytes) -> AlignmentConfig | None:
    """Decode a settings record; return None if it is invalid or of another contract version."""
    try:
        record = canonical.loads_object(raw)
        config = config_from_json(record["semantics"])
        return config if config.digest == record["config"] else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
