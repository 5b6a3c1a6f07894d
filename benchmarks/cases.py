"""Which cases the command runs, whole and quick, and which systems take part in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.alignment_run import AlignmentCase
from benchmarks.device_load import DeviceLoad
from benchmarks.shipped_streams import STUB_CASE, StreamsCase
from benchmarks.systems import BARE, BRAID, BYTEWAX, FAUST, PATHWAY, QUIX, BenchmarkJob, SystemUnderTest

PARTITIONS = 8
PEERS = (FAUST, BYTEWAX, QUIX, PATHWAY)
WORKERS = (1, 2, 4)
HOLDERS = (BRAID, BARE, FAUST)
WHOLE_JOB = BenchmarkJob("", PARTITIONS)
LONG_WINDOWS = BenchmarkJob("", PARTITIONS, size_ms=4_000, hop_ms=1_000)
EARLY = BenchmarkJob("", PARTITIONS, early=True)


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """A case, who takes part, how often."""

    case: AlignmentCase
    systems: Sequence[SystemUnderTest]
    rounds: int = 1


def alignment_cases(quick: bool, rounds: int) -> list[PlannedCase]:
    """Ingest and align: everybody live and on a backlog, then what only Braid and the floor are asked."""
    everybody = (BRAID, BARE, *PEERS)
    # Of a backlog bytewax lets its windows out in one burst at the end: the time between them says nothing of its cost.
    steady = [system for system in everybody if system is not BYTEWAX]
    live_s, stood_s = (15, 15) if quick else (25, 30)
    plan = [
        PlannedCase(AlignmentCase("live", DeviceLoad(100, live_s), live=True, job=WHOLE_JOB), everybody),
        PlannedCase(AlignmentCase("backlog", DeviceLoad(100, stood_s), live=False, job=WHOLE_JOB), steady, rounds),
    ]
    if quick:
        return plan
    return [
        *plan,
        PlannedCase(
            AlignmentCase("backlog, long windows", DeviceLoad(100, stood_s), live=False, job=LONG_WINDOWS),
            (BRAID, BARE),
        ),
        PlannedCase(AlignmentCase("live, early answers too", DeviceLoad(100, live_s), live=True, job=EARLY), (BRAID,)),
        *(
            PlannedCase(
                AlignmentCase(f"backlog, {n} sessions", DeviceLoad(n, s, small=True), live=False, job=WHOLE_JOB),
                (BRAID, BARE),
            )
            for n, s in ((100, 60), (2_000, 8), (10_000, 4.5))
        ),
    ]


def scale_cases(quick: bool) -> list[PlannedCase]:
    """The same load on one, two and four aligner processes."""
    load = DeviceLoad(100, 15 if quick else 30)
    return [
        PlannedCase(
            AlignmentCase(
                f"aligners: {n}", load, live=False, job=BenchmarkJob("", PARTITIONS, workers=n), from_share=0.4
            ),
            (BRAID,),
        )
        for n in WORKERS
    ]


def stream_cases(quick: bool) -> list[StreamsCase]:
    """The shipped streams: end to end, and serving alone; each window answered by the shipped model."""
    fast = [
        StreamsCase("C: end to end, as fast as possible"),
        StreamsCase("B: prepared windows, the real model", prepared=True),
        StreamsCase(STUB_CASE, prepared=True, stub=True),
    ]
    if quick:
        return fast
    return [
        *fast,
        StreamsCase("C: end to end, at 1x", live=True),
        StreamsCase("B: prepared windows, the real model, two workers", prepared=True, fusions=2),
    ]
