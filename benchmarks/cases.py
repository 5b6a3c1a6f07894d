"""The cases that `python -m benchmarks` runs, in full or quick, and the systems that take part in each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.alignment_run import AlignmentCase
from benchmarks.device_load import DeviceLoad
from benchmarks.shipped_streams import STUB_CASE, StreamsCase
from benchmarks.systems import BARE, BRAID, BYTEWAX, FAUST, PATHWAY, QUIX, BenchmarkJob, SystemUnderTest

PARTITIONS = 8
PEERS = (FAUST, BYTEWAX, QUIX, PATHWAY)
WORKER_COUNTS = (1, 2, 4)
HIGHEST_RATE_SYSTEMS = (BRAID, BARE, FAUST)
JOB = BenchmarkJob("", PARTITIONS)
LONG_WINDOWS = BenchmarkJob("", PARTITIONS, size_ms=4_000, hop_ms=1_000)
EARLY = BenchmarkJob("", PARTITIONS, early=True)


@dataclass(frozen=True, slots=True)
class PlannedCase:
    """A case, the systems that take part, and how many runs each has."""

    case: AlignmentCase
    systems: Sequence[SystemUnderTest]
    rounds: int = 1


def alignment_cases(quick: bool, rounds: int) -> list[PlannedCase]:
    """Return the cases of class A: first those for all systems, then those for Braid and the bare loop only."""
    everybody = (BRAID, BARE, *PEERS)
    # Bytewax publishes the windows of a backlog in one burst at the end: the time between them does not show its cost.
    without_bytewax = [system for system in everybody if system is not BYTEWAX]
    live_s, backlog_s = (15, 15) if quick else (25, 30)
    plan = [
        PlannedCase(AlignmentCase("live", DeviceLoad(100, live_s), live=True, job=JOB), everybody),
        PlannedCase(AlignmentCase("backlog", DeviceLoad(100, backlog_s), live=False, job=JOB), without_bytewax, rounds),
    ]
    if quick:
        return plan
    small_loads = [(n, DeviceLoad(n, s, small=True)) for n, s in ((100, 60), (2_000, 8), (10_000, 4.5))]
    return [
        *plan,
        PlannedCase(
            AlignmentCase("backlog, long windows", DeviceLoad(100, backlog_s), live=False, job=LONG_WINDOWS),
            (BRAID, BARE),
        ),
        PlannedCase(
            AlignmentCase("live, early answers too", DeviceLoad(100, live_s), live=True, job=EARLY),
            (BRAID,),
        ),
        *(
            PlannedCase(AlignmentCase(f"backlog, {n} sessions", load, live=False, job=JOB), (BRAID, BARE))
            for n, load in small_loads
        ),
    ]


def scale_cases(quick: bool) -> list[PlannedCase]:
    """Return the cases with the same load on one, two and four aligner processes."""
    load = DeviceLoad(100, 15 if quick else 30)
    jobs = {n: BenchmarkJob("", PARTITIONS, workers=n) for n in WORKER_COUNTS}
    return [
        PlannedCase(AlignmentCase(f"aligners: {n}", load, live=False, job=job, measured_from_share=0.4), (BRAID,))
        for n, job in jobs.items()
    ]


def stream_cases(quick: bool) -> list[StreamsCase]:
    """Return the cases of classes B and C: the shipped streams, end to end or from prepared windows."""
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
        StreamsCase("B: prepared windows, the real model, two workers", prepared=True, workers=2),
    ]
