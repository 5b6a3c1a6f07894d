"""Braid against its peers, side by side on one broker: `python -m benchmarks` (`make bench`)."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import highest_rate, http_serving, shipped_streams
from benchmarks.alignment_run import RunFailed, reset_redis, run
from benchmarks.cases import HOLDERS, PlannedCase, alignment_cases, scale_cases
from benchmarks.cases import stream_cases as planned_streams
from benchmarks.peer_environments import InstallError
from benchmarks.plot import draw_plot
from benchmarks.results import (
    RESULTS,
    SECTIONS,
    BenchmarkResults,
    BenchmarkRow,
    describe_machine,
    median_row,
    read_results,
    render_page,
    write_results,
)
from benchmarks.systems import SystemUnderTest
from services.local.process import StartError
from services.local.stack import LocalStack
from services.runtime.settings import load

BEGAN = time.monotonic()


def say(text: str) -> None:
    """Progress, on the error stream."""
    sys.stderr.write(f"{time.monotonic() - BEGAN:6.0f} s  {text}\n")
    sys.stderr.flush()


async def align(stack: LocalStack, plan: Sequence[PlannedCase], results: BenchmarkResults) -> list[BenchmarkRow]:
    """Run cases of alignment; each round in an order of its own, so that no system always comes first."""
    out: list[BenchmarkRow] = []
    for planned in plan:
        rows: dict[str, list[BenchmarkRow]] = {}
        for number in range(planned.rounds):
            turn = number % len(planned.systems)
            for system in (*planned.systems[turn:], *planned.systems[:turn]):
                row = await _one(stack, system, planned, results)
                if row is not None:
                    rows.setdefault(system.name, []).append(row)
        out += [median_row(found) for found in rows.values()]
    return out


async def _one(
    stack: LocalStack, system: SystemUnderTest, planned: PlannedCase, results: BenchmarkResults
) -> BenchmarkRow | None:
    case = planned.case
    try:
        await reset_redis(stack)
        row = await run(stack, system, case, say)
    except (RunFailed, InstallError) as why:
        _failed(results, f"{system.name}, {case.name}", why)
        return None
    _said(row)
    return row


async def serve(stack: LocalStack, quick: bool, results: BenchmarkResults) -> list[BenchmarkRow]:
    """The shipped streams through the whole system."""
    rows = []
    for asked in planned_streams(quick):
        try:
            await reset_redis(stack)
            rows.append(await shipped_streams.run(stack, asked, say))
            _said(rows[-1])
        except (RunFailed, StartError) as why:
            _failed(results, asked.name, why)
    for server in http_serving.HTTP_PEERS:
        try:
            rows.append(await http_serving.run(stack, server, quick, say))
            _said(rows[-1])
        except (RunFailed, InstallError) as why:
            _failed(results, f"{server.name}, {shipped_streams.STUB_CASE}", why)
    return rows


async def held(
    stack: LocalStack, quick: bool, systems: Sequence[SystemUnderTest], results: BenchmarkResults
) -> list[BenchmarkRow]:
    """The highest rate of each system, sought from what it worked off a backlog with."""
    rows = []
    for system in systems:
        backlog = [row for row in results.rows.get("A", []) if row.system == system.name and row.case == "backlog"]
        if not backlog:
            say(f"hold: {system.name}: run its backlog first")
            continue
        row = await highest_rate.find_highest_rate(stack, system, backlog[0].events_per_s, 15 if quick else 60, say)
        if row is None:
            results.failed[f"{system.name}, hold"] = "no rate that was tried held p99 within 100 ms"
        else:
            rows.append(row)
    return rows


def _said(row: BenchmarkRow) -> None:
    waits = f", p99 {row.latency_ms['p99']:.0f} ms" if row.latency_ms else ""
    fault = "" if row.valid else f", INVALID: {row.wrong} wrong, {row.missing} missing, {row.troubles} other"
    say(
        f"{row.case}: {row.system}: {row.cpu_us_per_event:.1f} us CPU an event, {row.cpu_ms_per_window:.2f} ms a "
        f"window, {row.events_per_s:,.0f} events/s{waits}, {row.checked:,} windows checked{fault}"
    )


def _failed(results: BenchmarkResults, what: str, why: Exception) -> None:
    results.failed[what] = str(why).splitlines()[0]
    say(f"{what}: {why}")


async def measure(asked: argparse.Namespace, results: BenchmarkResults, folder: Path) -> None:
    """The sections asked for, on a stack of our own."""
    own = load(kafka={"bootstrap_servers": ""}, redis={"url": ""})
    say("starting Kafka and Redis")
    async with LocalStack(folder, own) as stack:
        for section in asked.only.split(","):
            before = describe_machine()
            say(SECTIONS[section])
            if section == "A":
                rows = await align(stack, _chosen(alignment_cases(asked.quick, asked.rounds), asked), results)
            elif section == "scale":
                rows = await align(stack, scale_cases(asked.quick), results)
            elif section == "streams":
                rows = await serve(stack, asked.quick, results)
            else:
                rows = await held(stack, asked.quick, [p for p in HOLDERS if _wanted(p, asked)], results)
            results.rows[section] = rows
            results.machine[section] = before | {"load_after": round(os.getloadavg()[0], 1)}
            if asked.write:
                write_results(results, RESULTS)


def _chosen(plan: Sequence[PlannedCase], asked: argparse.Namespace) -> list[PlannedCase]:
    named = [p for p in plan if asked.case in (None, p.case.name)]
    return [
        PlannedCase(p.case, systems, p.rounds)
        for p in named
        if (systems := [s for s in p.systems if _wanted(s, asked)])
    ]


def _wanted(system: SystemUnderTest, asked: argparse.Namespace) -> bool:
    return asked.systems is None or system.name in asked.systems.split(",")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases, shorter")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each system on the backlog; the median counts")
    parser.add_argument("--only", default="A,hold,streams,scale", help=f"by comma: {', '.join(SECTIONS)}")
    parser.add_argument("--case", help="only this case of A (as: backlog)")
    parser.add_argument("--systems", help="only these, by comma (as: braid,bare)")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write docs/results/bench.{json,md,png}; sections not run stay",
    )
    asked = parser.parse_args()
    if unknown := set(asked.only.split(",")) - SECTIONS.keys():
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    cases = [planned.case.name for planned in alignment_cases(asked.quick, asked.rounds)]
    if asked.case is not None and asked.case not in cases:
        parser.error(f"no such case: {asked.case}; there are: {'; '.join(cases)}")
    # Sections that are not run keep their rows where the results are written, and give `hold` its starting points.
    results = read_results(RESULTS) if asked.write else BenchmarkResults()
    results.failed = {}
    try:
        with tempfile.TemporaryDirectory(prefix="braid-bench-") as folder:
            asyncio.run(measure(asked, results, Path(folder)))
    except StartError as why:
        sys.stderr.write(f"{why}\n")
        return 1
    sys.stdout.write(render_page(results))
    if asked.write:
        draw_plot(RESULTS, say)
    ours = [row for rows in results.rows.values() for row in rows if row.system == "braid"]
    return 0 if ours and all(row.valid for row in ours) else 1


if __name__ == "__main__":
    sys.exit(main())
