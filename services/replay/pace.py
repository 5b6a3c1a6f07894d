"""How fast a replay is told: so many times as fast as it happened."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Waits until a moment of the recording has come; at so many times the speed of then."""

    def __init__(
        self, speed: float, wait: Callable[[float], None] = time.sleep, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._speed, self._wait, self._now = speed, wait, now
        self._began: tuple[int, float] | None = None

    def reach(self, at_us: int) -> None:
        """Wait for a moment on the append clock; the first one comes at once."""
        if self._began is None:
            self._began = at_us, self._now()
        began_us, began_s = self._began
        ahead_s = (at_us - began_us) / 1e6 / self._speed - (self._now() - began_s)
        if ahead_s > 0:
            self._wait(ahead_s)
