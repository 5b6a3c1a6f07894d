"""Statistics of a source: clock offset, rate, share of late records, silence.

`braid devices`, `GET /devices`, the aligner's metric and the correction of device clocks all use these, so that they
never disagree about the same records.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

PERIOD_US = 30_000_000
# Further ahead, a clock is reported. The shortest delay of a source is never negative.
CLOCK_AHEAD_US = 1_000_000
CLOCK_REMEDY = "Set the clock of the device (NTP), or `devices: {%s: {clock: arrival}}` in braid.yaml."


def clock_problem(offset_us: int) -> str | None:
    """Return what is wrong with a clock of this offset, for people; None if nothing is."""
    return None if offset_us > -CLOCK_AHEAD_US else f"clock {-offset_us / 1e6:.0f} s ahead"


@dataclass(slots=True)
class ClockOffset:
    """How far a clock is behind the broker's, estimated from records of the last minute.

    The estimate is the smallest difference between append time and end of capture in the current and the previous
    period of append time (half a minute each), so that it does not depend on how records are batched. It includes the
    shortest transport delay, which cannot be distinguished from an error of the clock.
    """

    period: int = 0
    _newest_us: int | None = None
    _before_us: int | None = None

    def observe(self, offset_us: int, period: int) -> None:
        """Add the difference between append time and end of capture of a record; period is append time // PERIOD_US."""
        if self._newest_us is None or period > self.period:
            self._before_us = self._newest_us if period == self.period + 1 else None
            self._newest_us, self.period = offset_us, period
        elif offset_us < self._newest_us:
            self._newest_us = offset_us

    @property
    def us(self) -> int:
        """Return the estimate in microseconds; 0 before the first record."""
        if self._newest_us is None:
            return 0
        return self._newest_us if self._before_us is None else min(self._newest_us, self._before_us)


@dataclass(slots=True)
class SourceStats:
    """Counts of one source; times in microseconds of the broker's clock, 0 if there was no record.

    `corrected_us` is what was added to the source's own clock for its newest record; `rejected` counts dead letters by reason.
    """

    first_us: int = 0
    last_us: int = 0
    records: int = 0
    late: int = 0
    corrected_us: int = 0
    ended_us: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    clock: ClockOffset = field(default_factory=ClockOffset)

    def add(self, capture_end_us: int, appended_us: int, corrected_us: int = 0) -> None:
        """Count a chunk."""
        self.first_us = self.first_us or appended_us
        self.last_us = max(self.last_us, appended_us)
        self.records += 1
        self.corrected_us = corrected_us
        self.clock.observe(appended_us - capture_end_us, appended_us // PERIOD_US)

    def end(self, appended_us: int) -> None:
        """Note that the source has announced that it sends no more."""
        self.ended_us = max(self.ended_us, appended_us)

    def as_json(self, source: str, now_us: int, silent_us: int) -> dict[str, Any]:
        """Return the statistics of a source as a JSON object; if it has not ended, it is silent after `silent_us`."""
        problem = clock_problem(self.clock.us)
        ended = self.ended_us >= self.last_us
        silent = not ended and now_us - self.last_us >= silent_us
        active_us = max(self.last_us - self.first_us, 1)
        return {
            "records": self.records,
            "last_seen_us": self.last_us,
            "last_seen_s": round(max(now_us - self.last_us, 0) / 1e6, 1),
            "silent_since_us": self.last_us if silent else None,
            "ended": ended,
            "rate_hz": round((self.records - 1) * 1e6 / active_us, 2) if self.records > 1 else 0.0,
            "clock_offset_ms": round(self.clock.us / 1000),
            "clock_corrected_ms": round(self.corrected_us / 1000),
            "clock_problem": problem,
            "clock_remedy": problem and CLOCK_REMEDY % source,
            "late_share": round(self.late / self.records, 3),
            "rejected": dict(sorted(self.rejected.items())),
        }
