"""The local clock for durations; it is never compared with event times or the broker's clock."""

from __future__ import annotations

import time


def monotonic_us() -> int:
    """Microseconds on the monotonic clock."""
    return time.monotonic_ns() // 1000
