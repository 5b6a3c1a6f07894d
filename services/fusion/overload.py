"""Overload: how much is left out of answers, by how long what stands in the queue would take. Pure, no clock.

Level 1 skips early answers, 2 uses fewer frames, 3 leaves the costliest sense out. Final windows are always answered.
"""

from __future__ import annotations

EARLY, FRAMES, SENSE = 1, 2, 3
# How much the newest batch says about the time that a record takes.
WEIGHT = 0.1


class Overload:
    """The level, from 0 to `highest`: one more for each `step_us` of work in the queue.

    A level is left only when the queue is down to a quarter of what led to it, or two levels would take turns.
    """

    def __init__(self, highest: int, step_us: int) -> None:
        self._highest, self._step_us = highest, step_us
        self._record_us = 0.0
        self.level = 0

    def handled(self, records: int, us: float) -> None:
        """So many records, those that needed no answer included, kept us busy for so long."""
        now_us = us / records
        self._record_us += (now_us - self._record_us) * (WEIGHT if self._record_us else 1.0)

    def judge(self, behind: int) -> int:
        """The level at which to answer next, with so many records not handled yet."""
        wait_us = behind * self._record_us
        while self.level < self._highest and wait_us > (self.level + 1) * self._step_us:
            self.level += 1
        while self.level and wait_us < self.level * self._step_us / 4:
            self.level -= 1
        return self.level
