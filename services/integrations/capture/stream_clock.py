"""The event times of a live stream, from its own time stamps. Pure: time is an argument.

This is not the clock offset of a source (services/contract/source_stats.py): it maps media time stamps, which begin
anywhere, to this machine's clock, before any record is sent.
"""

from __future__ import annotations

SETTLED_US = 500_000
MINUTE_US = 60_000_000
DRIFT_US = 500_000


class StreamClock:
    """An estimate of the wall-clock time of the stream's time 0, by the smallest delay of an item so far.

    The first items have waited in buffers while the stream was opened, so times are reliable once half a second has
    been read (`settled`). Drift between the clocks is followed in steps, once a minute, by the smallest delay of that
    minute; no item ends in the future.
    """

    def __init__(self) -> None:
        self._origin_us: int | None = None
        self._smallest_us: int | None = None
        self._first_us = self._minute_us = 0
        self.settled = False

    def observe(self, ends_us: int, now_us: int) -> None:
        """Take the arrival of an item that ends at `ends_us` of the stream's time."""
        delay_us = now_us - ends_us
        if self._origin_us is None:
            self._origin_us, self._first_us, self._minute_us = delay_us, now_us, now_us
            return
        if not self.settled:
            self.settled = now_us - self._first_us >= SETTLED_US
            self._origin_us = min(delay_us, self._origin_us)
            return
        self._smallest_us = delay_us if self._smallest_us is None else min(delay_us, self._smallest_us)
        if delay_us < self._origin_us - DRIFT_US:
            self._origin_us = delay_us
        if now_us - self._minute_us >= MINUTE_US:
            if self._smallest_us > self._origin_us + DRIFT_US:
                self._origin_us = self._smallest_us
            self._smallest_us, self._minute_us = None, now_us

    def event_time_us(self, stream_us: int) -> int:
        """Return the event time of a time of the stream, after the first `observe`."""
        if self._origin_us is None:
            raise ValueError("no item of this stream has arrived yet")
        return self._origin_us + stream_us
