"""The state of an open session: its streams with the history of their watermarks, and its open windows."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Literal, NamedTuple

from services.contract.quotas import Usage
from services.contract.window import Member

NEVER_US = -(1 << 62)
# Sources of a stream that are remembered. Beyond that its end is not known from announcements, but from silence.
SOURCES_MAX = 1_000
Evidence = Literal["data", "tick", "end"]
Identity = tuple[str, str, int, int]


class WatermarkStep(NamedTuple):
    """One step of a watermark.

    Attributes:
        watermark_us: The new watermark (event time).
        appended_us: Append time of the record that raised it.
        evidence: What kind of record that was.
        received_mono_us: When we received that record (monotonic clock).
    """

    watermark_us: int
    appended_us: int
    evidence: Evidence
    received_mono_us: int


@dataclass(slots=True)
class Stream:
    """One modality of one session.

    Attributes:
        steps: History of its watermark, as far as open windows need it.
        known: sha256 of the payload by the identity of each chunk that may still be repeated.
        known_until: These identities by the start of the last window that needs them.
        expiring: These starts, as a heap.
        ticks: Retained idle records: (start of the latest window that they close, offset).
        sources: Sources seen, at most SOURCES_MAX.
        ended: Sources that have ended, at most SOURCES_MAX.
        watermark_us: The watermark (event time).
        announced_watermark_us: The highest watermark that we asked to be written into the log.
    """

    steps: list[WatermarkStep] = field(default_factory=list)
    known: dict[Identity, str] = field(default_factory=dict)
    known_until: dict[int, list[Identity]] = field(default_factory=dict)
    expiring: list[int] = field(default_factory=list)
    ticks: list[tuple[int, int]] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    watermark_us: int = NEVER_US
    announced_watermark_us: int = NEVER_US

    @property
    def all_ended(self) -> bool:
        """Return whether every source that was seen has ended."""
        return bool(self.ended) and len(self.sources) < SOURCES_MAX and self.sources <= self.ended

    def add_source(self, source: str) -> None:
        """Note that a source sends."""
        if source not in self.sources and len(self.sources) < SOURCES_MAX:
            self.sources.add(source)
        self.ended.discard(source)

    def end_source(self, source: str) -> None:
        """Note that a source has announced its end."""
        if len(self.ended) < SOURCES_MAX:
            self.ended.add(source)

    def remember(self, identity: Identity, sha256: str, last_start_us: int) -> None:
        """Remember an identity until the window that starts at `last_start_us` is closed for this stream."""
        self.known[identity] = sha256
        identities = self.known_until.get(last_start_us)
        if identities is None:
            self.known_until[last_start_us] = [identity]
            heappush(self.expiring, last_start_us)
        else:
            identities.append(identity)

    def forget(self, closed_us: int) -> None:
        """Forget the identities whose last window starts at or before `closed_us`."""
        while self.expiring and self.expiring[0] <= closed_us:
            for identity in self.known_until.pop(heappop(self.expiring)):
                del self.known[identity]

    def step_reaching(self, level_us: int) -> WatermarkStep | None:
        """Return the first step at or above a level, None if the watermark is below it."""
        # The comparison comes first: most streams are below the level when this is asked for each session of a batch.
        return self.steps[bisect_left(self.steps, (level_us,))] if level_us <= self.watermark_us else None


class WindowStream(list[Member]):
    """The members of one modality in an open window, in order of arrival.

    Attributes:
        excess: Bytes that members may take in the record beyond their shares.
    """

    __slots__ = ("excess",)

    def __init__(self) -> None:
        super().__init__()
        self.excess = 0


@dataclass(slots=True)
class OpenWindow:
    """The members of a window that is not emitted yet.

    Attributes:
        opened_us: Smallest append time of its members.
        members: Members by modality, in order of arrival.
        last: Modality and offset of those members that are in no later window.
        early_emitted: Whether its early version is emitted.
        usage: By modality, what counts against quotas of chunks for which this is the last window.
    """

    opened_us: int
    members: dict[str, WindowStream] = field(default_factory=dict)
    last: list[tuple[str, int]] = field(default_factory=list)
    early_emitted: bool = False
    usage: dict[str, Usage] = field(default_factory=dict)


@dataclass(slots=True)
class Session:
    """A session with open windows or retained idle records.

    Attributes:
        name: The generation id: the session, until it is reset.
        modalities: The modalities that the settings declare for it.
        streams: One stream for each modality.
        last_data_mono_us: When a data record last raised a watermark (monotonic clock).
        windows: Open windows by start.
        starts: Their starts, rising.
    """

    name: str
    modalities: tuple[str, ...]
    streams: dict[str, Stream]
    last_data_mono_us: int
    windows: dict[int, OpenWindow] = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)

    @property
    def any_ended(self) -> bool:
        """Return whether some source has ended and not started again."""
        return any(stream.ended for stream in self.streams.values())
