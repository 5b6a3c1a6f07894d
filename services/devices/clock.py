"""How far a device's clock is off, learnt from when the broker took its records. Pure: every time is an argument."""

from __future__ import annotations

HORIZON_US = 60_000_000
STEP_US = 50_000
# The first way to a broker is the longest: connections are made on it.
MEASURED_MIN = 3


class Clock:
    """What is added to a device's own times; it starts at 0 and moves in steps of at least 50 ms.

    Measured is what the aligner measures, too: the smallest arrival (the broker's append time) minus the end of what
    was captured, of the last minute or so. That takes the shortest way for part of the clock's fault, as it must:
    nobody can tell them apart.
    """

    def __init__(self) -> None:
        self.offset_us = 0
        self._smallest_us = self._at_us = self._measured = 0

    def heard(self, recorded_us: int, duration_us: int, appended_us: int) -> int | None:
        """A record of the device was taken; recorded_us: its own time. The new offset where a step is due."""
        found_us = appended_us - recorded_us - duration_us
        self._measured += 1
        if self._measured == 1 or found_us <= self._smallest_us or appended_us - self._at_us > HORIZON_US:
            self._smallest_us, self._at_us = found_us, appended_us
        if self._measured < MEASURED_MIN or abs(self._smallest_us - self.offset_us) < STEP_US:
            return None
        self.offset_us = self._smallest_us
        return self.offset_us
