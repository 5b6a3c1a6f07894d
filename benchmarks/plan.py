"""Which cases the command runs, whole and quick, and which systems take part in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.aligning import Case
from benchmarks.load import Load
from benchmarks.streams import STUB_CASE, Streams
from benchmarks.systems import BARE, BRAID, BYTEWAX, FAUST, PATHWAY, QUIX, Job, System

PARTITIONS = 8
PEERS = (FAUST, BYTEWAX, QUIX, PATHWAY)
WORKERS = (1, 2, 4)
HOLDERS = (BRAID, BARE, FAUST)
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
    # Of a backlog bytewax lets its windows out in one burst at the end: the time between them says nothing of its cost.
    steady = [system for system in everybody if system is not BYTEWAX]
    live_s, stood_s = (15, 15) if quick else (25, 30)
    plan = [
        Planned(Case("live", Load(100, live_s), live=True, job=WHOLE_JOB), everybody),
        Planned(Case("backlog", Load(100, stood_s), live=False, job=WHOLE_JOB), steady, rounds),
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


def scale(quick: bool) -> list[Planned]:
    """The same load on one, two and four aligner processes."""
    load = Load(100, 15 if quick else 30)
    return [
        Planned(Case(f"aligners: {n}", load, live=False, job=Job("", PARTITIONS, workers=n), from_share=0.4), (BRAID,))
        for n in WORKERS
    ]


def streams(quick: bool) -> list[Streams]:
    """The shipped streams: end to end, and serving alone; each window answered by the shipped model."""
    fast = [
        Streams("C: end to end, as fast as possible"),
        Streams("B: prepared windows, the real model", prepared=True),
        Streams(STUB_CASE, prepared=True, stub=True),
    ]
    if quick:
        return fast
    return [
        *fast,
        Streams("C: end to end, at 1x", live=True),
        Streams("B: prepared windows, the real model, two workers", prepared=True, fusions=2),
    ]
