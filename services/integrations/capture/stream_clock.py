"""A live stream's own time stamps as event times. Pure: now comes in as an argument."""

from __future__ import annotations

SETTLED_US = 500_000
MINUTE_US = 60_000_000
DRIFT_US = 500_000


class StreamClock:
    """What the stream calls 0 is where the wall clock stood when its newest item had just been captured.

    The shortest way from capture to here counts. What is first read of a stream has waited in buffers while it was opened,
    so nothing is told before half a second has been read (`settled`). A clock that runs slower or faster than
    ours is followed in steps, once in a minute, by the shortest way of that minute; no item ends in the future.
    """

    def __init__(self) -> None:
        self._origin_us: int | None = None
        self._shortest_us: int | None = None
        self._first_us = self._minute_us = 0
        self.settled = False

    def observe(self, ends_us: int, now_us: int) -> None:
        """An item arrived that ends at a time of the stream's."""
        way_us = now_us - ends_us
        if self._origin_us is None:
            self._origin_us, self._first_us, self._minute_us = way_us, now_us, now_us
            return
        if not self.settled:
            self.settled = now_us - self._first_us >= SETTLED_US
            self._origin_us = min(way_us, self._origin_us)
            return
        self._shortest_us = way_us if self._shortest_us is None else min(way_us, self._shortest_us)
        if way_us < self._origin_us - DRIFT_US:
            self._origin_us = way_us
        if now_us - self._minute_us >= MINUTE_US:
            if self._shortest_us > self._origin_us + DRIFT_US:
                self._origin_us = self._shortest_us
            self._shortest_us, self._minute_us = None, now_us

    def event_time_us(self, stream_us: int) -> int:
        """The event time of a time of the stream's; only once something was seen."""
        if self._origin_us is None:
            raise ValueError("nothing was seen of this stream yet")
        return self._origin_us + stream_us
