"""When a stream counts as idle, and when the early version of a window is due.

These decisions are free: an idle record acts only once it is in the log, and an early window is exempt from every
promise. So they may use the local monotonic clock (`*_mono_us`, `now_us`). It is never compared with event times; only
durations are, each on its own clock. The clock is always an argument.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import NamedTuple

from services.aligner.session import NEVER_US, Session, Stream
from services.contract.alignment_config import AlignmentConfig
from services.contract.tick import TickEvidence

FOREVER_US = 1 << 62
# Sessions of a partition number that are checked at once. Of thousands that began together, each may have several windows
# due; without a limit a live session would wait until all of them are built.
DUE_MAX = 64


@dataclass(frozen=True, slots=True)
class IdleTimeouts:
    """How long to wait, by arrival.

    Attributes:
        stream_us: By modality, how long a stream may lag behind the other streams of its session.
        session_us: After how long without data a session is idle.
        early_us: After how long an early window is emitted at the latest; None for no early windows.
        retained_max: Retained records of a partition number from which idle timeouts are zero.
    """

    stream_us: Mapping[str, int]
    session_us: int
    early_us: int | None
    retained_max: int = 200_000

    def scaled_for(self, retained: int) -> IdleTimeouts:
        """Scale the timeouts linearly to zero as retained records go from `retained_max / 2` to `retained_max`."""
        left, whole = self.retained_max - retained, self.retained_max - self.retained_max // 2
        if left >= whole:
            return self
        share = max(left, 0)
        stream_us = {name: wait_us * share // whole for name, wait_us in self.stream_us.items()}
        return IdleTimeouts(stream_us, self.session_us * share // whole, self.early_us, self.retained_max)


@dataclass(frozen=True, slots=True)
class EndOffsets:
    """End offsets of the media logs by modality, answered to a request that was sent at `requested_mono_us`."""

    requested_mono_us: int
    offsets: Mapping[str, int]

    def reached(self, modality: str, positions: Mapping[str, int]) -> bool:
        """Return whether everything that was in the log at the time of the request has been processed."""
        return modality in self.offsets and positions[modality] >= self.offsets[modality]


class IdleMarker(NamedTuple):
    """A watermark to write into the log of a modality, as an idle record."""

    modality: str
    session: str
    watermark_us: int
    evidence: TickEvidence


def idle_markers(
    session: Session,
    config: AlignmentConfig,
    timeouts: IdleTimeouts,
    end_offsets: EndOffsets,
    positions: Mapping[str, int],
) -> Iterator[IdleMarker]:
    """Yield the watermarks that may be written for a session.

    None closes more than its latest open window, and none is yielded before the logs are processed up to end offsets
    that were requested after the timeout. Each is yielded once; a restart may repeat one, which does no harm.
    """
    if not session.starts:
        return
    all_reached = all(end_offsets.reached(m, positions) for m in config.modalities)
    for modality in session.modalities:
        stream = session.streams[modality]
        latest_us = config.closing_watermark_us(session.starts[-1], modality)
        evidence: TickEvidence = "tick"
        watermark_us = NEVER_US
        if stream.all_ended:
            watermark_us, evidence = latest_us, "end"
        elif all_reached and session.last_data_mono_us + max(timeouts.session_us, timeouts.stream_us[modality]) <= (
            end_offsets.requested_mono_us
        ):
            watermark_us = latest_us
        elif end_offsets.reached(modality, positions):
            passed_before_us = end_offsets.requested_mono_us - timeouts.stream_us[modality]
            start = _newest_passed(session, config, modality, passed_before_us)
            watermark_us = NEVER_US if start is None else config.closing_watermark_us(start, modality)
        if watermark_us > max(stream.watermark_us, stream.announced_watermark_us):
            stream.announced_watermark_us = watermark_us
            yield IdleMarker(modality, session.name, watermark_us, evidence)


def early_starts(session: Session, config: AlignmentConfig, timeouts: IdleTimeouts, now_us: int) -> list[int]:
    """Return the starts of the open windows whose early version is due.

    It is due once some stream has passed the end and every gapless one with a member has too; or once the session's
    clock (its newest watermark plus the time since we received it) is `early_us` past the end. The second case covers a
    session in which nothing follows the window.
    """
    if timeouts.early_us is None:
        return []
    reached_us = max([stream.watermark_us for stream in session.streams.values()], default=NEVER_US)
    clock_us = max([_clock_us(stream, now_us) for stream in session.streams.values()], default=NEVER_US)
    due = []
    for start in session.starts:
        end_us = start + config.size_us
        if end_us > reached_us and end_us + timeouts.early_us > clock_us:
            break
        if start not in session.early and (
            end_us + timeouts.early_us <= clock_us or _gapless_passed(session, config, start)
        ):
            due.append(start)
    return due


def early_deadline_us(session: Session, config: AlignmentConfig, timeouts: IdleTimeouts) -> int:
    """Return when (monotonic clock) an early window is due at the earliest if nothing else arrives, else FOREVER_US."""
    if timeouts.early_us is None:
        return FOREVER_US
    pending = next((s for s in session.starts if s not in session.early), None)
    if pending is None:
        return FOREVER_US
    level_us = pending + config.size_us + timeouts.early_us
    return min(
        stream.steps[-1].received_mono_us + level_us - stream.watermark_us
        for stream in session.streams.values()
        if stream.steps
    )


def idle_deadline_us(session: Session, config: AlignmentConfig, timeouts: IdleTimeouts) -> int:
    """Return when (monotonic clock) a stream can be idle at the earliest if nothing else arrives, else FOREVER_US."""
    deadline_us = FOREVER_US
    for modality in session.modalities:
        wait_us = timeouts.stream_us[modality]
        start = _first_unannounced(session, config, modality)
        if start is None:
            continue
        deadline_us = min(deadline_us, session.last_data_mono_us + max(timeouts.session_us, wait_us))
        passed = _passed_by(session, modality, start + config.size_us)
        if passed is not None:
            deadline_us = min(deadline_us, passed + wait_us)
    return deadline_us


class TimerQueue:
    """The sessions of a partition number by the time of their next check; a newly set time replaces the former one."""

    __slots__ = ("_due_us", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._due_us: dict[str, int] = {}

    def set(self, session: str, due_us: int) -> None:
        """Check a session at a time; FOREVER_US for never."""
        if due_us >= FOREVER_US:
            self._due_us.pop(session, None)
        elif self._due_us.get(session) != due_us:
            self._due_us[session] = due_us
            heappush(self._heap, (due_us, session))

    def next_deadline_us(self) -> int:
        """Return the time of the next check, FOREVER_US if there is none."""
        while self._heap and self._due_us.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else FOREVER_US

    def pop_due(self, now_us: int) -> list[str]:
        """Remove and return the first DUE_MAX sessions whose time has come; the others are due at once again."""
        due: list[str] = []
        while len(due) < DUE_MAX and self.next_deadline_us() <= now_us:
            session = heappop(self._heap)[1]
            del self._due_us[session]
            due.append(session)
        return due


def _gapless_passed(session: Session, config: AlignmentConfig, start_us: int) -> bool:
    """Return whether every gapless stream with a member in a window has passed its end."""
    end_us = start_us + config.size_us
    return all(
        stream.watermark_us >= end_us
        for stream in session.streams.values()
        if stream.gapless and any(pane.chunks_in(start_us, end_us) for pane in stream.panes.values())
    )


def _clock_us(stream: Stream, now_us: int) -> int:
    return stream.watermark_us + now_us - stream.steps[-1].received_mono_us if stream.steps else NEVER_US


def _passed_by(session: Session, modality: str, level_us: int) -> int | None:
    """Return when (monotonic clock) the first other stream passed a level, None if none has."""
    first_us = None
    for m, stream in session.streams.items():
        step = None if m == modality else stream.step_reaching(level_us)
        if step is not None and (first_us is None or step.received_mono_us < first_us):
            first_us = step.received_mono_us
    return first_us


def _newest_passed(session: Session, config: AlignmentConfig, modality: str, before_us: int) -> int | None:
    """Return the start of the newest open window whose end another stream had passed by `before_us` (monotonic)."""
    reached_us = NEVER_US
    for m, stream in session.streams.items():
        at = bisect_right(stream.steps, before_us, key=lambda step: step.received_mono_us)
        if m != modality and at:
            reached_us = max(reached_us, stream.steps[at - 1].watermark_us)
    at = bisect_right(session.starts, reached_us - config.size_us)
    return session.starts[at - 1] if at else None


def _first_unannounced(session: Session, config: AlignmentConfig, modality: str) -> int | None:
    """Return the oldest open window that this stream has not closed and was not announced to close."""
    stream = session.streams[modality]
    announced_us = max(stream.watermark_us, stream.announced_watermark_us)
    at = bisect_right(session.starts, announced_us - config.closing_watermark_us(0, modality))
    return session.starts[at] if at < len(session.starts) else None
