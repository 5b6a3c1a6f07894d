"""A chunk: one admitted media record, as alignment sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


class Chunk(NamedTuple):
    """One media record [t_us, t_us + duration_us), in microseconds of event time; appended_us is its append time.

    `payload_bytes` and `decode_pixels` (see `media_headers.decode_pixels`) count against quotas.
    """

    session: str
    modality: str
    source: str
    id: str
    t_us: int
    duration_us: int
    sha256: str
    partition: int
    offset: int
    appended_us: int
    payload_bytes: int = 0
    decode_pixels: int = 0

    @property
    def identity(self) -> tuple[str, str, int, int]:
        """Return what two records of one session and modality share if one is a copy of the other."""
        return self.source, self.id, self.t_us, self.duration_us

    @property
    def alive(self) -> bool:
        """Return True for an alive record, which is the only one without bytes."""
        return self.sha256 == EMPTY_SHA256


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """The announcement of a source that it sends no more for this session and modality."""

    session: str
    source: str
