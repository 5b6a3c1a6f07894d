"""The plan of faults, which depends on the seed and the duration only."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass

FULL_DISK = "full disk of broker"
# The number of faults in five minutes; a shorter run has fewer, but each at least once.
KINDS = {
    "kill aligner": 20,
    "pause aligner": 3,
    "second aligner joins": 20,
    "second aligner leaves": 20,
    "kill broker": 3,
    "kill redis": 2,
    "pause redis": 2,
    "flush redis": 2,
    "fill redis": 2,
    "kill fusion": 4,
    "pause fusion": 2,
    "kill gateway": 5,
    "kill mqtt": 5,
    "kill mosquitto": 3,
    "pause broker": 2,
    "add partitions": 1,
    FULL_DISK: 1,
}
FULL_S = 300
LEAD_S = 4.0
TAIL_S = 4.0
# When a fault may come within its share of the time: the second aligner leaves before it joins again, and records must
# come to added partitions.
WITHIN = {"second aligner joins": (0.0, 0.3), "second aligner leaves": (0.6, 0.9), "add partitions": (0.0, 0.5)}


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """A fault, in seconds after the start of sending."""

    at_s: float
    kind: str


def plan(seed: int, seconds: float, impossible: Collection[str] = (), density: float = 1.0) -> list[Fault]:
    """Return the faults of a run in order of time: each kind is spread evenly, at a random time within its share.

    impossible: Kinds of faults that cannot be injected on this machine.
    density: How many times the usual number of faults, each kind at least once.
    """
    faults: list[Fault] = []
    for kind, in_full in KINDS.items():
        if kind in impossible:
            continue
        rng = random.Random(f"{seed} {kind}")
        count = max(1, round(in_full * density * seconds / FULL_S))
        share_s = (seconds - LEAD_S - TAIL_S) / count
        first, last = WITHIN.get(kind, (0.0, 1.0))
        for n in range(count):
            faults.append(Fault(round(LEAD_S + share_s * (n + rng.uniform(first, last)), 2), kind))
    return sorted(faults)
