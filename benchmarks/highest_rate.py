"""The highest rate that a system holds: a minute at that rate, 99 of 100 windows out within 100 ms of their last record."""

from __future__ import annotations

from benchmarks.alignment_run import WARM_S, AlignmentCase, RunFailed, reset_redis, run
from benchmarks.device_load import EVENTS_PER_SESSION_SECOND, DeviceLoad
from benchmarks.peer_environments import InstallError, Progress
from benchmarks.results import BenchmarkRow
from benchmarks.systems import BenchmarkJob, SystemUnderTest
from services.local.stack import LocalStack

P99_MS = 100
# Of what it worked off a backlog with, when it had the machine to itself; the search begins at the third.
STEPS, FIRST = (0.06, 0.12, 0.25, 0.5, 1.0), 2


async def find_highest_rate(
    stack: LocalStack, system: SystemUnderTest, backlog_per_s: float, hold_s: float, say: Progress
) -> BenchmarkRow | None:
    """The run at the highest of a few rates that it held, None where it held none.

    Each try takes a minute: from the first rate upwards for as long as it holds, or downwards until it does.
    """
    found = await _held(stack, system, backlog_per_s * STEPS[FIRST], hold_s, say)
    rising = found is not None
    for step in STEPS[FIRST + 1 :] if rising else reversed(STEPS[:FIRST]):
        row = await _held(stack, system, backlog_per_s * step, hold_s, say)
        found = row or found
        if (row is not None) != rising:
            break
    return found


async def _held(
    stack: LocalStack, system: SystemUnderTest, rate_per_s: float, hold_s: float, say: Progress
) -> BenchmarkRow | None:
    """The run at one rate, None where it was not held."""
    sessions = max(int(rate_per_s / EVENTS_PER_SESSION_SECOND), 1)
    case = AlignmentCase("hold", DeviceLoad(sessions, hold_s + WARM_S), live=True, job=BenchmarkJob("", 8))
    await reset_redis(stack)
    try:
        row = await run(stack, system, case, say)
    except (RunFailed, InstallError) as why:
        say(f"hold: {system.name} at {sessions} sessions: {str(why).splitlines()[0]}")
        return None
    held = row.valid and row.latency_ms["p99"] <= P99_MS
    what = "held" if held else "not held"
    say(f"hold: {system.name}: {row.events_per_s:,.0f} events/s {what}, p99 {row.latency_ms['p99']:.0f} ms")
    return row if held else None
