"""Braid against its peers, side by side on one broker: `python -m benchmarks` (`make bench`)."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.aligning import Failed, fresh_redis, run
from benchmarks.environments import CannotInstall
from benchmarks.plan import Planned, class_a
from benchmarks.report import RESULTS, Results, machine, page, write
from benchmarks.row import Row, middle
from benchmarks.systems import System
from services.local.child import CannotStart
from services.local.stack import LocalStack
from services.runtime.settings import load

BEGAN = time.monotonic()


def say(text: str) -> None:
    """Progress, on the error stream."""
    sys.stderr.write(f"{time.monotonic() - BEGAN:6.0f} s  {text}\n")
    sys.stderr.flush()


async def align(stack: LocalStack, plan: Sequence[Planned], results: Results) -> None:
    """Run class A; each round in an order of its own, so that no system always comes first."""
    for planned in plan:
        rows: dict[str, list[Row]] = {}
        for number in range(planned.rounds):
            turn = number % len(planned.systems)
            for system in (*planned.systems[turn:], *planned.systems[:turn]):
                row = await _one(stack, system, planned, results)
                if row is not None:
                    rows.setdefault(system.name, []).append(row)
        results.aligning += [middle(found) for found in rows.values()]


async def _one(stack: LocalStack, system: System, planned: Planned, results: Results) -> Row | None:
    case = planned.case
    try:
        await fresh_redis(stack)
        row = await run(stack, system, case, say)
    except (Failed, CannotInstall) as why:
        results.failed[f"{system.name}, {case.name}"] = str(why).splitlines()[0]
        say(f"{case.name}: {system.name}: {why}")
        return None
    waits = f", p99 {row.latency_ms['p99']:.0f} ms" if row.latency_ms else ""
    fault = "" if row.valid else f", INVALID: {row.wrong} wrong, {row.missing} missing, {row.troubles} other"
    say(
        f"{case.name}: {system.name}: {row.cpu_us_per_event:.1f} us CPU an event, {row.cpu_ms_per_window:.2f} ms a "
        f"window, {row.events_per_s:,.0f} events/s{waits}, {row.checked:,} windows checked{fault}"
    )
    return row


async def measured(plan: Sequence[Planned], folder: Path) -> Results:
    """Everything on a stack of our own."""
    results = Results(machine())
    own = load(kafka={"bootstrap_servers": ""}, redis={"url": ""})
    say("starting Kafka and Redis")
    async with LocalStack(folder, own) as stack:
        await align(stack, plan, results)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases, shorter")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each system on the backlog; the median counts")
    parser.add_argument("--case", help="only cases whose name has this in it (as: backlog)")
    parser.add_argument("--systems", help="only these, by comma (as: braid,bare)")
    parser.add_argument("--write", action="store_true", help="write docs/results/bench.json and bench.md")
    asked = parser.parse_args()
    plan = class_a(asked.quick, 1 if asked.quick else asked.rounds)
    if asked.case:
        plan = [p for p in plan if asked.case in p.case.name]
    if asked.systems:
        wanted = asked.systems.split(",")
        plan = [Planned(p.case, [s for s in p.systems if s.name in wanted], p.rounds) for p in plan]
    plan = [p for p in plan if p.systems]
    if not plan:
        parser.error("no case and system are left of the plan")
    try:
        with tempfile.TemporaryDirectory(prefix="braid-bench-") as folder:
            results = asyncio.run(measured(plan, Path(folder)))
    except CannotStart as why:
        sys.stderr.write(f"{why}\n")
        return 1
    sys.stdout.write(page(results))
    if asked.write:
        write(results, RESULTS)
    return 0 if all(row.valid for row in results.aligning if row.system == "braid") and not results.failed else 1


if __name__ == "__main__":
    sys.exit(main())
