"""The state of an open session: its streams with their chunks and the history of their watermarks, and its open windows."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from services.aligner.panes import Identity, Pane
from services.contract.chunk import Chunk

NEVER_US = -(1 << 62)
# Sources of a stream that are remembered. Beyond that its end is not known from announcements, but from silence.
SOURCES_MAX = 1_000
Evidence = Literal["data", "tick", "end"]


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
        close_after_us: How far beyond the start of a window the watermark must be to close it.
        gapless: Whether its chunks leave no gaps.
        closed_us: No window that starts at or before this is open for it.
        steps: History of its watermark, as far as open windows need it.
        panes: The chunks of open windows by the start of the last window, in this order.
        room: How many more chunks each of its windows certainly has room for (see `MemberLimits`).
        counts: By window, its members and the bytes that these take beyond their shares; None if none is near a limit.
        shortened: The last window of each chunk that had no room in the last one that it overlaps, by identity.
        ticks: Retained idle records: (start of the latest window that they close, offset).
        sources: Sources seen, at most SOURCES_MAX.
        ended: Sources that have ended, at most SOURCES_MAX.
        watermark_us: The watermark (event time).
        announced_watermark_us: The highest watermark that we asked to be written into the log.
    """

    close_after_us: int = 0
    gapless: bool = False
    closed_us: int = NEVER_US
    room: int = 0
    steps: list[WatermarkStep] = field(default_factory=list)
    panes: dict[int, Pane] = field(default_factory=dict)
    counts: dict[int, tuple[int, int]] | None = None
    shortened: dict[Identity, int] = field(default_factory=dict)
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

    def raise_watermark(self, step: WatermarkStep) -> None:
        """Raise the watermark, which closes windows for this stream."""
        self.steps.append(step)
        self.watermark_us = step.watermark_us
        closed_us = step.watermark_us - self.close_after_us
        if closed_us > self.closed_us:
            self.closed_us = closed_us

    def find_shortened(self, identity: Identity) -> Chunk | None:
        """Return a chunk that had no room in the last window that it overlaps, while its own last one is open here."""
        last_us = self.shortened.get(identity, NEVER_US)
        return self.panes[last_us].chunks[identity] if last_us > self.closed_us else None

    def open_pane(self, last_us: int, chunk: Chunk) -> Pane:
        """Return a new pane for the chunks whose last window starts at `last_us`; `chunk` is the first of them."""
        pane = Pane(last_us, chunk)
        if self.panes and last_us < next(reversed(self.panes)):
            self.panes = dict(sorted([*self.panes.items(), (last_us, pane)]))
        else:
            self.panes[last_us] = pane
        return pane

    def step_reaching(self, level_us: int) -> WatermarkStep | None:
        """Return the first step at or above a level, None if the watermark is below it."""
        # The comparison comes first: most streams are below the level when this is asked for each session of a batch.
        return self.steps[bisect_left(self.steps, (level_us,))] if level_us <= self.watermark_us else None


@dataclass(slots=True)
class Session:
    """A session with open windows or retained idle records.

    Attributes:
        name: The generation id: the session, until it is reset.
        modalities: The modalities that the settings declare for it.
        streams: One stream for each modality.
        last_data_mono_us: When a data record last raised a watermark (monotonic clock).
        starts: Starts of the open windows, rising.
        early: Those of them whose early version is emitted.
    """

    name: str
    modalities: tuple[str, ...]
    streams: dict[str, Stream]
    last_data_mono_us: int
    starts: list[int] = field(default_factory=list)
    early: set[int] = field(default_factory=set)

    @property
    def any_ended(self) -> bool:
        """Return whether some source has ended and not started again."""
        return any(stream.ended for stream in self.streams.values())

    def open_windows(self, first_us: int, last_us: int, hop_us: int) -> int:
        """Open the windows from one start to another one that are not open; return how many these were."""
        starts, before = self.starts, len(self.starts)
        if starts and first_us >= starts[0] and before == (starts[-1] - starts[0]) // hop_us + 1:
            # Nearly always: no gap so far, and the new windows follow.
            first_us = max(first_us, starts[-1] + hop_us) if first_us <= starts[-1] + hop_us else first_us
        for start_us in range(first_us, last_us + 1, hop_us):
            if not starts or start_us > starts[-1]:
                starts.append(start_us)
            elif starts[bisect_left(starts, start_us)] != start_us:
                insort(starts, start_us)
        return len(starts) - before
