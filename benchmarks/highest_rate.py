"""The highest rate that a system sustains: 99 of 100 windows within 100 ms of the last record they need."""

from __future__ import annotations

from benchmarks.alignment_run import WARM_UP_S, AlignmentCase, reset_redis, run_case
from benchmarks.device_load import EVENTS_PER_SESSION_SECOND, DeviceLoad
from benchmarks.peer_environments import InstallError, Progress
from benchmarks.results import BenchmarkRow
from benchmarks.systems import BenchmarkJob, SystemUnderTest
from benchmarks.whole_system import RunFailed
from services.local.stack import LocalStack

P99_MAX_MS = 100
# Shares of the rate at which the system processed a backlog with the machine to itself; the search begins at the third.
RATE_SHARES, FIRST = (0.06, 0.12, 0.25, 0.5, 1.0), 2


async def find_highest_rate(
    stack: LocalStack, system: SystemUnderTest, backlog_per_s: float, duration_s: float, progress: Progress
) -> BenchmarkRow | None:
    """Return the run at the highest of five rates that the system sustains, None if it sustains none.

    The search goes up from the first rate until one fails or, if the first fails, down until one succeeds.
    """
    best = await _try_rate(stack, system, backlog_per_s * RATE_SHARES[FIRST], duration_s, progress)
    rising = best is not None
    for share in RATE_SHARES[FIRST + 1 :] if rising else reversed(RATE_SHARES[:FIRST]):
        row = await _try_rate(stack, system, backlog_per_s * share, duration_s, progress)
        best = row or best
        if (row is not None) != rising:
            break
    return best


async def _try_rate(
    stack: LocalStack, system: SystemUnderTest, rate_per_s: float, duration_s: float, progress: Progress
) -> BenchmarkRow | None:
    """Return the run at one rate, None if the system does not sustain it."""
    sessions = max(int(rate_per_s / EVENTS_PER_SESSION_SECOND), 1)
    load = DeviceLoad(sessions, duration_s + WARM_UP_S)
    await reset_redis(stack)
    try:
        row = await run_case(stack, system, AlignmentCase("hold", load, live=True, job=BenchmarkJob("", 8)), progress)
    except (RunFailed, InstallError) as error:
        progress(f"hold: {system.name} at {sessions} sessions: {str(error).splitlines()[0]}")
        return None
    sustained = row.valid and row.latency_ms["p99"] <= P99_MAX_MS
    outcome = "sustained" if sustained else "not sustained"
    progress(f"hold: {system.name}: {row.events_per_s:,.0f} events/s {outcome}, p99 {row.latency_ms['p99']:.0f} ms")
    return row if sustained else None
