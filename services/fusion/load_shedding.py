"""Overload: how much is left out of answers, by how long what stands in the queue would take. Pure, no clock.

Level 1 skips early answers, 2 uses fewer frames, 3 leaves the costliest sense out. Final windows are always answered.

What is left out of a window at a level of overload: a function of the window's record and the model alone. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.contract.window import Member, Window

SKIP_EARLY, SKIP_FRAMES, SKIP_MODALITY = 1, 2, 3
# How much the newest batch says about the time that a record takes.
WEIGHT = 0.1


class LoadShedder:
    """The level, from 0 to `highest`: one more for each `step_us` of work in the queue.

    A level is left only when the queue is down to a quarter of what led to it, or two levels would take turns.
    """

    def __init__(self, highest: int, step_us: int) -> None:
        self._highest, self._step_us = highest, step_us
        self._record_us = 0.0
        self.level = 0

    def observe(self, records: int, us: float) -> None:
        """So many records, those that needed no answer included, kept us busy for so long."""
        now_us = us / records
        self._record_us += (now_us - self._record_us) * (WEIGHT if self._record_us else 1.0)

    def update_level(self, behind: int) -> int:
        """The level at which to answer next, with so many records not handled yet."""
        wait_us = behind * self._record_us
        while self.level < self._highest and wait_us > (self.level + 1) * self._step_us:
            self.level += 1
        while self.level and wait_us < self.level * self._step_us / 4:
            self.level -= 1
        return self.level


VIDEO = "video"


@dataclass(frozen=True, slots=True)
class DegradedInput:
    """What is used of a window: members by modality, the modalities left out, and the level that this is.

    level: the lowest that leaves out just this. An answer that lacks nothing is one of level 0, whatever the load was
    when it was made.
    """

    members: Mapping[str, Sequence[Member]]
    skipped: frozenset[str]
    level: int


def degrade(
    window: Window, level: int, modalities: Sequence[str], costliest: Callable[[], str], slot_us: int
) -> DegradedInput:
    """Take from a window what the level leaves out.

    modalities: those of the model; costliest: the one to leave out where it is not the only one; slot_us: the grid of
    the windows' starts.
    """
    members: dict[str, Sequence[Member]] = {
        m: [x for x in lane.members if not x.alive]
        for m, lane in window.modalities.items()
        if m in modalities and m not in window.muted
    }
    reached = 0
    if level >= SKIP_FRAMES and VIDEO in members:
        fewer = _every_other(members[VIDEO], slot_us)
        if len(fewer) < len(members[VIDEO]):
            members[VIDEO], reached = fewer, SKIP_FRAMES
    there = [m for m, found in members.items() if found]
    if level >= SKIP_MODALITY and len(there) > 1 and (gone := costliest()) in there:
        return DegradedInput(members | {gone: []}, frozenset([gone]), SKIP_MODALITY)
    return DegradedInput(members, frozenset(), reached)


def _every_other(frames: Sequence[Member], slot_us: int) -> Sequence[Member]:
    """The newest frame of every other slot of event time, the newest of all where there is none.

    The same frames in every window that they stand in, so that the others need not be encoded for any.
    """
    newest: dict[int, Member] = {}
    for frame in frames:
        if frame.t_us // slot_us % 2 == 0:
            newest[frame.t_us // slot_us] = frame
    return list(newest.values()) or list(frames[-1:])
