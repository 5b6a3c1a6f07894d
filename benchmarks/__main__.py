"""Braid beside its peers on one broker: `python -m benchmarks` (`make bench`)."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.alignment_run import reset_redis, run_case
from benchmarks.cases import HIGHEST_RATE_SYSTEMS, PlannedCase, alignment_cases, scale_cases, stream_cases
from benchmarks.highest_rate import find_highest_rate
from benchmarks.http_serving import HTTP_PEERS, run_http_peer
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
from benchmarks.shipped_streams import STUB_CASE, run_streams
from benchmarks.systems import SystemUnderTest
from benchmarks.whole_system import RunFailed
from services.local.process import StartError
from services.local.stack import LocalStack
from services.runtime.settings import load

BEGAN = time.monotonic()


def print_progress(text: str) -> None:
    """Print a line of progress on the error stream."""
    sys.stderr.write(f"{time.monotonic() - BEGAN:6.0f} s  {text}\n")
    sys.stderr.flush()


async def run_alignment(
    stack: LocalStack, plan: Sequence[PlannedCase], results: BenchmarkResults
) -> list[BenchmarkRow]:
    """Run cases of alignment; rotate the systems in each round, so that no system always comes first."""
    medians: list[BenchmarkRow] = []
    for planned in plan:
        rows: dict[str, list[BenchmarkRow]] = {}
        for number in range(planned.rounds):
            first = number % len(planned.systems)
            for system in (*planned.systems[first:], *planned.systems[:first]):
                try:
                    await reset_redis(stack)
                    row = await run_case(stack, system, planned.case, print_progress)
                except (RunFailed, InstallError) as error:
                    _record_failure(results, f"{system.name}, {planned.case.name}", error)
                    continue
                _print_row(row)
                rows.setdefault(system.name, []).append(row)
        medians += [median_row(runs) for runs in rows.values()]
    return medians


async def run_serving(stack: LocalStack, quick: bool, results: BenchmarkResults) -> list[BenchmarkRow]:
    """Run the shipped streams through Braid, and the stub device in the peers that serve by HTTP."""
    rows = []
    for streams in stream_cases(quick):
        try:
            await reset_redis(stack)
            rows.append(await run_streams(stack, streams))
            _print_row(rows[-1])
        except (RunFailed, StartError) as error:
            _record_failure(results, streams.name, error)
    for peer in HTTP_PEERS:
        try:
            rows.append(await run_http_peer(stack, peer, quick, print_progress))
            _print_row(rows[-1])
        except (RunFailed, InstallError) as error:
            _record_failure(results, f"{peer.name}, {STUB_CASE}", error)
    return rows


async def run_highest_rates(
    stack: LocalStack, quick: bool, systems: Sequence[SystemUnderTest], results: BenchmarkResults
) -> list[BenchmarkRow]:
    """Find the highest rate of each system, starting from its rate on a backlog."""
    rows = []
    for system in systems:
        backlog = [row for row in results.rows.get("A", []) if row.system == system.name and row.case == "backlog"]
        if not backlog:
            print_progress(f"hold: {system.name}: run its backlog case first")
            continue
        row = await find_highest_rate(stack, system, backlog[0].events_per_s, 15 if quick else 60, print_progress)
        if row is None:
            results.failed[f"{system.name}, hold"] = "no tested rate kept p99 within 100 ms"
        else:
            rows.append(row)
    return rows


def _print_row(row: BenchmarkRow) -> None:
    latency = f", p99 {row.latency_ms['p99']:.0f} ms" if row.latency_ms else ""
    faults = "" if row.valid else f", INVALID: {row.wrong} wrong, {row.missing} missing, {row.troubles} other"
    print_progress(
        f"{row.case}: {row.system}: {row.cpu_us_per_event:.1f} us CPU an event, {row.cpu_ms_per_window:.2f} ms a "
        f"window, {row.events_per_s:,.0f} events/s{latency}, {row.checked:,} windows checked{faults}"
    )


def _record_failure(results: BenchmarkResults, what: str, error: Exception) -> None:
    results.failed[what] = str(error).splitlines()[0]
    print_progress(f"{what}: {error}")


async def run_sections(options: argparse.Namespace, results: BenchmarkResults, folder: Path) -> None:
    """Run the selected sections on a stack of their own."""
    own_stack = load(kafka={"bootstrap_servers": ""}, redis={"url": ""})
    print_progress("starting Kafka and Redis")
    async with LocalStack(folder, own_stack) as stack:
        for section in options.only.split(","):
            machine = describe_machine()
            print_progress(SECTIONS[section])
            if section == "A":
                plan = _select(alignment_cases(options.quick, options.rounds), options)
                rows = await run_alignment(stack, plan, results)
            elif section == "scale":
                rows = await run_alignment(stack, scale_cases(options.quick), results)
            elif section == "streams":
                rows = await run_serving(stack, options.quick, results)
            else:
                systems = [system for system in HIGHEST_RATE_SYSTEMS if _is_selected(system, options)]
                rows = await run_highest_rates(stack, options.quick, systems, results)
            results.rows[section] = rows
            results.machine[section] = machine | {"load_after": round(os.getloadavg()[0], 1)}
            if options.write:
                write_results(results, RESULTS)


def _select(plan: Sequence[PlannedCase], options: argparse.Namespace) -> list[PlannedCase]:
    return [
        PlannedCase(planned.case, systems, planned.rounds)
        for planned in plan
        if options.case in (None, planned.case.name)
        and (systems := [system for system in planned.systems if _is_selected(system, options)])
    ]


def _is_selected(system: SystemUnderTest, options: argparse.Namespace) -> bool:
    return options.systems is None or system.name in options.systems.split(",")


def main() -> int:
    """Run the selected sections; return 0 if every row of Braid is valid."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases, shorter")
    parser.add_argument(
        "--rounds", type=int, default=1, help="runs of each system on the backlog; the table shows the median"
    )
    parser.add_argument(
        "--only", default="A,hold,streams,scale", help=f"sections, separated by commas: {', '.join(SECTIONS)}"
    )
    parser.add_argument("--case", help="only this case of section A, for example backlog")
    parser.add_argument("--systems", help="only these systems, for example braid,bare")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write docs/results/bench.{json,md,png}; sections that are not run keep their rows",
    )
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - SECTIONS.keys():
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    cases = [planned.case.name for planned in alignment_cases(options.quick, options.rounds)]
    if options.case is not None and options.case not in cases:
        parser.error(f"no such case: {options.case}; there are: {'; '.join(cases)}")
    # Sections that are not run keep their rows when results are written; `hold` starts from the rows of section A.
    results = read_results(RESULTS) if options.write else BenchmarkResults()
    results.failed = {}
    try:
        with tempfile.TemporaryDirectory(prefix="braid-bench-") as folder:
            asyncio.run(run_sections(options, results, Path(folder)))
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(render_page(results))
    if options.write:
        draw_plot(RESULTS, print_progress)
    braid_rows = [row for rows in results.rows.values() for row in rows if row.system == "braid"]
    return 0 if braid_rows and all(row.valid for row in braid_rows) else 1


if __name__ == "__main__":
    sys.exit(main())
