"""Load shedding: the level of overload from the work in the queue, and what each level leaves out. Pure.

Level 1 skips early predictions, 2 uses fewer frames, 3 leaves the costliest modality out. Final windows are always
predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from services.contract.chunk import EMPTY_SHA256
from services.contract.window import Member, Window

SKIP_EARLY, SKIP_FRAMES, SKIP_MODALITY = 1, 2, 3
# The weight of the newest batch in the estimated time per record.
WEIGHT = 0.1
VIDEO = "video"


@dataclass(frozen=True, slots=True)
class LoadShedConfig:
    """When predictions are due (us after the window was published), and the overload levels (see `LoadShedder`)."""

    deadline_us: int
    step_us: int
    level_max: int


class LoadShedder:
    """The level of overload, from 0 to `level_max`: one more for each `step_us` of work in the queue.

    Hysteresis: it steps down at a quarter of the step-up threshold, or two levels would alternate.
    """

    def __init__(self, level_max: int, step_us: int) -> None:
        self._level_max, self._step_us = level_max, step_us
        self._record_us = 0.0
        self.level = 0

    def observe(self, records: int, us: float) -> None:
        """Learn how long (us) a number of records took, those that needed no prediction included."""
        per_record_us = us / records
        self._record_us += (per_record_us - self._record_us) * (WEIGHT if self._record_us else 1.0)

    def update_level(self, lag: int) -> int:
        """Return the level for the next batch; lag: records that are not handled yet."""
        wait_us = lag * self._record_us
        while self.level < self._level_max and wait_us > (self.level + 1) * self._step_us:
            self.level += 1
        while self.level and wait_us < self.level * self._step_us / 4:
            self.level -= 1
        return self.level


@dataclass(frozen=True, slots=True)
class DegradedInput:
    """What is used of a window: members by modality, the modalities left out, and the level.

    level: the lowest that leaves out just this. A prediction that lacks nothing is of level 0, whatever the load was.
    """

    members: Mapping[str, Sequence[Member]]
    skipped: frozenset[str]
    level: int


def degrade(
    window: Window, level: int, modalities: Sequence[str], costliest: Callable[[], str], slot_us: int
) -> DegradedInput:
    """Leave out of a window what a level of overload leaves out.

    Args:
        window: The window; its muted modalities are left out at every level.
        level: The level of overload.
        modalities: The modalities of the model.
        costliest: Returns the modality to leave out if it is not the only one.
        slot_us: The grid of the windows' starts.
    """
    members: dict[str, Sequence[Member]] = {
        m: [x for x in stream.members if x.sha256 != EMPTY_SHA256]
        for m, stream in window.modalities.items()
        if m in modalities and m not in window.muted
    }
    reached = 0
    if level >= SKIP_FRAMES and VIDEO in members:
        frames = _every_other(members[VIDEO], slot_us)
        if len(frames) < len(members[VIDEO]):
            members[VIDEO], reached = frames, SKIP_FRAMES
    present = [m for m, some in members.items() if some]
    if level >= SKIP_MODALITY and len(present) > 1 and (skipped := costliest()) in present:
        return DegradedInput(members | {skipped: []}, frozenset([skipped]), SKIP_MODALITY)
    return DegradedInput(members, frozenset(), reached)


def _every_other(frames: Sequence[Member], slot_us: int) -> Sequence[Member]:
    """The newest frame of every other slot of event time, the newest of all if those have none.

    They are the same frames in every window that has them, so that the others need not be encoded for any.
    """
    newest: dict[int, Member] = {}
    for frame in frames:
        if frame.t_us // slot_us % 2 == 0:
            newest[frame.t_us // slot_us] = frame
    return list(newest.values()) or list(frames[-1:])
