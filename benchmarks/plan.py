"""Which cases the command runs, whole and quick, and which systems take part in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.aligning import Case
from benchmarks.load import Load
from benchmarks.systems import BARE, BRAID, FAUST, Job, System

PARTITIONS = 8
PEERS = (FAUST,)
WHOLE_JOB = Job("", PARTITIONS)
LONG_WINDOWS = Job("", PARTITIONS, size_ms=4_000, hop_ms=1_000)
EARLY = Job("", PARTITIONS, early=True)


@dataclass(frozen=True, slots=True)
class Planned:
    """A case, who takes part, how often."""

    case: Case
    systems: Sequence[System]
    rounds: int = 1


def class_a(quick: bool, rounds: int) -> list[Planned]:
    """Ingest and align: everybody live and on a backlog, then what only Braid and the floor are asked."""
    everybody = (BRAID, BARE, *PEERS)
    live_s, stood_s = (15, 15) if quick else (25, 30)
    plan = [
        Planned(Case("live", Load(100, live_s), live=True, job=WHOLE_JOB), everybody),
        Planned(Case("backlog", Load(100, stood_s), live=False, job=WHOLE_JOB), everybody, rounds),
    ]
    if quick:
        return plan
    return [
        *plan,
        Planned(Case("backlog, long windows", Load(100, stood_s), live=False, job=LONG_WINDOWS), (BRAID, BARE)),
        Planned(Case("live, early answers too", Load(100, live_s), live=True, job=EARLY), (BRAID,)),
        *(
            Planned(Case(f"backlog, {n} sessions", Load(n, s, small=True), live=False, job=WHOLE_JOB), (BRAID, BARE))
            for n, s in ((100, 60), (2_000, 8), (10_000, 4.5))
        ),
    ]
