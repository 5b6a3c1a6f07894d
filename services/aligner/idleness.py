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

from services.aligner.session import NEVER_US, LaneState, Session
from services.contract.alignment_config import Semantics
from services.contract.tick import Silence

LONG_US = 1 << 62


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in arrival: per modality behind the others, for an idle session, for an early answer.

    held_max: so many records of one partition number, kept for open windows, end all waiting.
    """

    modality_us: Mapping[str, int]
    idle_us: int
    early_us: int | None
    held_max: int = 200_000

    def under(self, held: int) -> Patience:
        """The patience left when so many records are held: all up to half of held_max, then less, at held_max none."""
        left, whole = self.held_max - held, self.held_max - self.held_max // 2
        if left >= whole:
            return self
        share = max(left, 0)
        modality_us = {name: wait_us * share // whole for name, wait_us in self.modality_us.items()}
        return Patience(modality_us, self.idle_us * share // whole, self.early_us, self.held_max)


@dataclass(frozen=True, slots=True)
class Proof:
    """The end offsets of the media logs (by modality), answered to a request sent at `asked_us`."""

    asked_us: int
    ends: Mapping[str, int]

    def passed(self, modality: str, positions: Mapping[str, int]) -> bool:
        """True once everything that stood in the log when we asked has been handed over."""
        return modality in self.ends and positions[modality] >= self.ends[modality]


class Silent(NamedTuple):
    """One bound to write into the log of a modality."""

    modality: str
    session: str
    bound_us: int
    evidence: Silence


def silences(
    session: Session, semantics: Semantics, patience: Patience, proof: Proof, positions: Mapping[str, int]
) -> Iterator[Silent]:
    """The bounds that may be written for a session: never beyond its latest open window, never without proof.

    Each is yielded once per lane (`told_us` remembers it); a restart forgets and may repeat one, which is harmless.
    """
    if not session.starts:
        return
    all_passed = all(proof.passed(m, positions) for m in semantics.modalities)
    for modality in session.declared:
        lane = session.lanes[modality]
        latest_us = semantics.close_us(session.starts[-1], modality)
        evidence: Silence = "tick"
        bound_us = NEVER_US
        if lane.over:
            bound_us, evidence = latest_us, "end"
        elif all_passed and session.heard_us + max(patience.idle_us, patience.modality_us[modality]) <= (
            proof.asked_us
        ):
            bound_us = latest_us
        elif proof.passed(modality, positions):
            waited_us = proof.asked_us - patience.modality_us[modality]
            start = _newest_passed(session, semantics, modality, waited_us)
            bound_us = NEVER_US if start is None else semantics.close_us(start, modality)
        if bound_us > max(lane.bound_us, lane.told_us):
            lane.told_us = bound_us
            yield Silent(modality, session.name, bound_us, evidence)


def early_starts(session: Session, semantics: Semantics, patience: Patience, now_us: int) -> list[int]:
    """Open windows whose first answer is due.

    Due: some modality has passed the end and every gapless one with a member has too; or the session's clock, carried
    on from its newest bound by the time since we got it, is early_us past the end. The second covers a session in
    which nothing at all comes after the window.
    """
    if patience.early_us is None:
        return []
    reached_us = max([lane.bound_us for lane in session.lanes.values()], default=NEVER_US)
    carried_us = max([_carried(lane, now_us) for lane in session.lanes.values()], default=NEVER_US)
    due = []
    for start in session.starts:
        end_us = start + semantics.size_us
        if end_us > reached_us and end_us + patience.early_us > carried_us:
            break
        window = session.windows[start]
        gapless = (m for m in window.members if semantics.lanes[m].gapless)
        if not window.answered and (
            end_us + patience.early_us <= carried_us or all(session.lanes[m].bound_us >= end_us for m in gapless)
        ):
            due.append(start)
    return due


def early_due(session: Session, semantics: Semantics, patience: Patience) -> int:
    """The earliest monotonic time at which an early answer may be due, if nothing else arrives; LONG_US for never."""
    if patience.early_us is None:
        return LONG_US
    unanswered = next((s for s in session.starts if not session.windows[s].answered), None)
    if unanswered is None:
        return LONG_US
    level_us = unanswered + semantics.size_us + patience.early_us
    return min(lane.raises[-1].handed_us + level_us - lane.bound_us for lane in session.lanes.values() if lane.raises)


def silence_due(session: Session, semantics: Semantics, patience: Patience) -> int:
    """The earliest monotonic time from which a proof may show a silence, if nothing else arrives; LONG_US for never."""
    due_us = LONG_US
    for modality in session.declared:
        wait_us = patience.modality_us[modality]
        start = _first_untold(session, semantics, modality)
        if start is None:
            continue
        due_us = min(due_us, session.heard_us + max(patience.idle_us, wait_us))
        passed = _passed_by(session, modality, start + semantics.size_us)
        if passed is not None:
            due_us = min(due_us, passed + wait_us)
    return due_us


class Agenda:
    """The sessions of one partition number by the time of their next look; the newest time set counts."""

    __slots__ = ("_heap", "_looks")

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._looks: dict[str, int] = {}

    def set(self, session: str, look_us: int) -> None:
        """Look at a session at a time; LONG_US for never."""
        if look_us >= LONG_US:
            self._looks.pop(session, None)
        elif self._looks.get(session) != look_us:
            self._looks[session] = look_us
            heappush(self._heap, (look_us, session))

    def next_us(self) -> int:
        """The time of the next look, LONG_US where there is none."""
        while self._heap and self._looks.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else LONG_US

    def pop_due(self, now_us: int) -> list[str]:
        """The sessions whose time has come; each must be set again."""
        due = []
        while self.next_us() <= now_us:
            session = heappop(self._heap)[1]
            del self._looks[session]
            due.append(session)
        return due


def _carried(lane: LaneState, now_us: int) -> int:
    return lane.bound_us + now_us - lane.raises[-1].handed_us if lane.raises else NEVER_US


def _passed_by(session: Session, modality: str, level_us: int) -> int | None:
    """When the first other modality passed a level, on the monotonic clock."""
    first_us = None
    for m, lane in session.lanes.items():
        step = None if m == modality else lane.crossing(level_us)
        if step is not None and (first_us is None or step.handed_us < first_us):
            first_us = step.handed_us
    return first_us


def _newest_passed(session: Session, semantics: Semantics, modality: str, waited_us: int) -> int | None:
    """The newest open window whose end another modality had passed by `waited_us`."""
    reached_us = NEVER_US
    for m, lane in session.lanes.items():
        at = bisect_right(lane.raises, waited_us, key=lambda step: step.handed_us)
        if m != modality and at:
            reached_us = max(reached_us, lane.raises[at - 1].bound_us)
    at = bisect_right(session.starts, reached_us - semantics.size_us)
    return session.starts[at - 1] if at else None


def _first_untold(session: Session, semantics: Semantics, modality: str) -> int | None:
    """The oldest open window that this modality neither closed nor was said to close."""
    lane = session.lanes[modality]
    at = bisect_right(session.starts, max(lane.bound_us, lane.told_us) - semantics.close_us(0, modality))
    return session.starts[at] if at < len(session.starts) else None
