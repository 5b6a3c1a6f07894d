"""How often Python looks for reference cycles in a service."""

from __future__ import annotations

import gc

# Young objects before the youngest generation is looked through, and how many times before the older ones are.
THRESHOLDS = (50_000, 20, 100)


def leave_loaded() -> None:
    """Leave what is loaded by now out of garbage collection. To be called once, when the modules are loaded."""
    gc.collect()
    gc.freeze()


def collect_rarely() -> None:
    """Leave what is loaded out of garbage collection, and look for cycles less often: for services that make none.

    State is many small objects without cycles, freed by their counts; the collector only walks them. By its defaults
    (700, 10, 10) it did so often enough to cost a chunk 1.9 times as much with 10,000 open sessions as with 100, and
    1.2 times with these (`make bench-sessions`). A Kafka consumer that is stopped or reassigned before it used up what it
    had fetched leaves that in a cycle. The gateway does so for each event that it keeps, the fusion worker for each
    look into a log when Redis is away: 4 MB each time, for good, with these thresholds.
    """
    leave_loaded()
    gc.set_threshold(*THRESHOLDS)
