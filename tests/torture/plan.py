"""What is done to the processes and when: a function of seed and length."""

from __future__ import annotations

import random
from dataclasses import dataclass

# So many in five minutes; a shorter run has fewer, but each at least once.
KINDS = {
    "kill aligner": 20,
    "pause aligner": 3,
    "second aligner joins": 20,
    "second aligner leaves": 20,
    "kill broker": 3,
    "kill redis": 2,
    "pause redis": 2,
    "flush redis": 2,
    "kill fusion": 4,
}
FULL_S = 300
LEAD_S = 4.0
TAIL_S = 4.0
# When in its share of the time a fault may come: a guest has gone before it comes again.
WITHIN = {"second aligner joins": (0.0, 0.3), "second aligner leaves": (0.6, 0.9)}


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing to do, so many seconds after the sending began."""

    at_s: float
    kind: str


def plan(seed: int, seconds: float) -> list[Fault]:
    """The faults of a run in order of time: each kind evenly over the run, at a random moment of its share."""
    rng = random.Random(seed)
    faults: list[Fault] = []
    for kind, in_full in KINDS.items():
        count = max(1, round(in_full * seconds / FULL_S))
        share_s = (seconds - LEAD_S - TAIL_S) / count
        first, last = WITHIN.get(kind, (0.0, 1.0))
        for n in range(count):
            faults.append(Fault(round(LEAD_S + share_s * (n + rng.uniform(first, last)), 2), kind))
    return sorted(faults)
