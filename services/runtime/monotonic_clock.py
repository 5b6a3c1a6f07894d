"""The monotonic clock, for durations only: it is never compared with event times or the broker's clock."""

from __future__ import annotations

import time


def monotonic_us() -> int:
    """Return the time of the monotonic clock in microseconds."""
    return time.monotonic_ns() // 1000
