"""Patience: when silence is to be written into a log, and when an early answer is due.

These decisions are free: a tick acts only once it stands in the log, an early answer is exempt from every promise. So
they may use the local monotonic clock (`*_us` arguments named `handed`, `asked`, `now`), which is never compared with
event times: durations are, on each clock by itself. Pure: the clock comes in as an argument.
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


@dataclass(frozen=True, slots=True)
class IdleTimeouts:
    """How long to wait, in arrival: per modality behind the others, for an idle session, for an early answer.

    held_max: so many records of one partition number, kept for open windows, end all waiting.
    """

    stream_us: Mapping[str, int]
    session_us: int
    early_us: int | None
    retained_max: int = 200_000

    def scaled_for(self, held: int) -> IdleTimeouts:
        """The patience left when so many records are held: all up to half of held_max, then less, at held_max none."""
        left, whole = self.retained_max - held, self.retained_max - self.retained_max // 2
        if left >= whole:
            return self
        share = max(left, 0)
        modality_us = {name: wait_us * share // whole for name, wait_us in self.stream_us.items()}
        return IdleTimeouts(modality_us, self.session_us * share // whole, self.early_us, self.retained_max)


@dataclass(frozen=True, slots=True)
class EndOffsets:
    """The end offsets of the media logs (by modality), answered to a request sent at `asked_us`."""

    requested_mono_us: int
    offsets: Mapping[str, int]

    def reached(self, modality: str, positions: Mapping[str, int]) -> bool:
        """True once everything that stood in the log when we asked has been handed over."""
        return modality in self.offsets and positions[modality] >= self.offsets[modality]


class IdleMarker(NamedTuple):
    """One bound to write into the log of a modality."""

    modality: str
    session: str
    watermark_us: int
    evidence: TickEvidence


def idle_markers(
    session: Session,
    semantics: AlignmentConfig,
    patience: IdleTimeouts,
    proof: EndOffsets,
    positions: Mapping[str, int],
) -> Iterator[IdleMarker]:
    """The bounds that may be written for a session: never beyond its latest open window, never without proof.

    Each is yielded once per lane (`told_us` remembers it); a restart forgets and may repeat one, which is harmless.
    """
    if not session.starts:
        return
    all_passed = all(proof.reached(m, positions) for m in semantics.modalities)
    for modality in session.modalities:
        lane = session.streams[modality]
        latest_us = semantics.closing_watermark_us(session.starts[-1], modality)
        evidence: TickEvidence = "tick"
        bound_us = NEVER_US
        if lane.all_ended:
            bound_us, evidence = latest_us, "end"
        elif all_passed and session.last_data_mono_us + max(patience.session_us, patience.stream_us[modality]) <= (
            proof.requested_mono_us
        ):
            bound_us = latest_us
        elif proof.reached(modality, positions):
            waited_us = proof.requested_mono_us - patience.stream_us[modality]
            start = _newest_passed(session, semantics, modality, waited_us)
            bound_us = NEVER_US if start is None else semantics.closing_watermark_us(start, modality)
        if bound_us > max(lane.watermark_us, lane.announced_watermark_us):
            lane.announced_watermark_us = bound_us
            yield IdleMarker(modality, session.name, bound_us, evidence)


def early_starts(session: Session, semantics: AlignmentConfig, patience: IdleTimeouts, now_us: int) -> list[int]:
    """Open windows whose first answer is due.

    Due: some modality has passed the end and every gapless one with a member has too; or the session's clock, carried
    on from its newest bound by the time since we got it, is early_us past the end. The second covers a session in
    which nothing at all comes after the window.
    """
    if patience.early_us is None:
        return []
    reached_us = max([lane.watermark_us for lane in session.streams.values()], default=NEVER_US)
    carried_us = max([_carried(lane, now_us) for lane in session.streams.values()], default=NEVER_US)
    due = []
    for start in session.starts:
        end_us = start + semantics.size_us
        if end_us > reached_us and end_us + patience.early_us > carried_us:
            break
        window = session.windows[start]
        gapless = (m for m in window.members if semantics.streams[m].gapless)
        if not window.early_emitted and (
            end_us + patience.early_us <= carried_us or all(session.streams[m].watermark_us >= end_us for m in gapless)
        ):
            due.append(start)
    return due


def early_deadline_us(session: Session, semantics: AlignmentConfig, patience: IdleTimeouts) -> int:
    """The earliest monotonic time at which an early answer may be due, if nothing else arrives; LONG_US for never."""
    if patience.early_us is None:
        return FOREVER_US
    unanswered = next((s for s in session.starts if not session.windows[s].early_emitted), None)
    if unanswered is None:
        return FOREVER_US
    level_us = unanswered + semantics.size_us + patience.early_us
    return min(
        lane.steps[-1].received_mono_us + level_us - lane.watermark_us
        for lane in session.streams.values()
        if lane.steps
    )


def idle_deadline_us(session: Session, semantics: AlignmentConfig, patience: IdleTimeouts) -> int:
    """The earliest monotonic time from which a proof may show a silence, if nothing else arrives; LONG_US for never."""
    due_us = FOREVER_US
    for modality in session.modalities:
        wait_us = patience.stream_us[modality]
        start = _first_untold(session, semantics, modality)
        if start is None:
            continue
        due_us = min(due_us, session.last_data_mono_us + max(patience.session_us, wait_us))
        passed = _passed_by(session, modality, start + semantics.size_us)
        if passed is not None:
            due_us = min(due_us, passed + wait_us)
    return due_us


class TimerQueue:
    """The sessions of one partition number by the time of their next look; the newest time set counts."""

    __slots__ = ("_heap", "_looks")

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._looks: dict[str, int] = {}

    def set(self, session: str, look_us: int) -> None:
        """Look at a session at a time; LONG_US for never."""
        if look_us >= FOREVER_US:
            self._looks.pop(session, None)
        elif self._looks.get(session) != look_us:
            self._looks[session] = look_us
            heappush(self._heap, (look_us, session))

    def next_deadline_us(self) -> int:
        """The time of the next look, LONG_US where there is none."""
        while self._heap and self._looks.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else FOREVER_US

    def pop_due(self, now_us: int) -> list[str]:
        """The sessions whose time has come; each must be set again."""
        due = []
        while self.next_deadline_us() <= now_us:
            session = heappop(self._heap)[1]
            del self._looks[session]
            due.append(session)
        return due


def _carried(lane: Stream, now_us: int) -> int:
    return lane.watermark_us + now_us - lane.steps[-1].received_mono_us if lane.steps else NEVER_US


def _passed_by(session: Session, modality: str, level_us: int) -> int | None:
    """When the first other modality passed a level, on the monotonic clock."""
    first_us = None
    for m, lane in session.streams.items():
        step = None if m == modality else lane.step_reaching(level_us)
        if step is not None and (first_us is None or step.received_mono_us < first_us):
            first_us = step.received_mono_us
    return first_us


def _newest_passed(session: Session, semantics: AlignmentConfig, modality: str, waited_us: int) -> int | None:
    """The newest open window whose end another modality had passed by `waited_us`."""
    reached_us = NEVER_US
    for m, lane in session.streams.items():
        at = bisect_right(lane.steps, waited_us, key=lambda step: step.received_mono_us)
        if m != modality and at:
            reached_us = max(reached_us, lane.steps[at - 1].watermark_us)
    at = bisect_right(session.starts, reached_us - semantics.size_us)
    return session.starts[at - 1] if at else None


def _first_untold(session: Session, semantics: AlignmentConfig, modality: str) -> int | None:
    """The oldest open window that this modality neither closed nor was said to close."""
    lane = session.streams[modality]
    at = bisect_right(
        session.starts,
        max(lane.watermark_us, lane.announced_watermark_us) - semantics.closing_watermark_us(0, modality),
    )
    return session.starts[at] if at < len(session.starts) else None
