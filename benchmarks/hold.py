"""The highest rate that a system holds: a minute at that rate, 99 of 100 windows out within 100 ms of their last record."""

from __future__ import annotations

from benchmarks.aligning import WARM_S, Case, Failed, fresh_redis, run
from benchmarks.environments import CannotInstall, Say
from benchmarks.load import EVENTS_PER_SESSION_SECOND, Load
from benchmarks.row import Row
from benchmarks.systems import Job, System
from services.local.stack import LocalStack

P99_MS = 100
STEPS = (0.8, 0.5, 0.3, 0.15)  # of what it worked off a backlog with


async def highest(stack: LocalStack, system: System, backlog_per_s: float, hold_s: float, say: Say) -> Row | None:
    """The run at the highest of a few rates that it held, None where it held none."""
    for step in STEPS:
        sessions = max(int(backlog_per_s * step / EVENTS_PER_SESSION_SECOND), 1)
        case = Case("hold", Load(sessions, hold_s + WARM_S), live=True, job=Job("", 8))
        await fresh_redis(stack)
        try:
            row = await run(stack, system, case, say)
        except (Failed, CannotInstall) as why:
            say(f"hold: {system.name} at {sessions} sessions: {str(why).splitlines()[0]}")
            continue
        held = row.valid and row.latency_ms["p99"] <= P99_MS
        what = "held" if held else "not held"
        say(f"hold: {system.name}: {row.events_per_s:,.0f} events/s {what}, p99 {row.latency_ms['p99']:.0f} ms")
        if held:
            return row
    return None
