"""Measure how several fusion workers share partitions and one device, end to end from Kafka (`python -m benchmarks.fusion_processes`).

The load of class A is aligned once. For each number of workers its windows are copied to fresh topics, and workers with a
stub of one device, which serves one of them at a time, predict them. Beside it, the stub alone: prepared inputs in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from benchmarks.alignment_run import count_records
from benchmarks.fusion_profile import (
    CASES,
    MEASURED_SHARES,
    PARTITIONS,
    TIMEOUT_S,
    AlignedBacklog,
    align_backlog,
    copy_windows,
    create_topics,
)
from benchmarks.results import describe_machine, median_of_each, print_page
from benchmarks.shipped_streams import STUB_ENVIRONMENT
from benchmarks.stub_model import StubModel, StubTiming
from benchmarks.systems import braid_environment
from benchmarks.whole_system import RunFailed
from model.checkpoint import load as load_model
from model.checkpoint_files import resolve_checkpoint
from model.predictor import WindowFeatures
from services.kafka import clients
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import load

CASE = CASES[2]
PAGE = "fusion-processes.md"
ALONE_S = 2.0


async def measure_workers(stack: LocalStack, backlog: AlignedBacklog, count: int) -> dict[str, float]:
    """Let a number of workers predict a copy of the backlog; return windows/s, CPU and memory of all of them."""
    job = replace(backlog.job, prefix=f"f{secrets.token_hex(4)}")
    settings = await create_topics(stack, job)
    environment = braid_environment(stack, job) | STUB_ENVIRONMENT | {"STUB_DEVICE": str(stack.folder / "device")}
    workers = [
        ServiceProcess("fusion", stack.folder, environment, number, module="benchmarks.stub_model")
        for number in range(1, count + 1)
    ]
    try:
        for worker in workers:
            worker.start()
        await asyncio.gather(*(worker.wait_until_ready() for worker in workers))
        processes = [psutil.Process(worker.child.pid) for worker in workers]
        await copy_windows(stack, backlog.settings, settings)
        began_s, topic = time.monotonic(), settings.topic_names().predictions
        readings: list[tuple[int, float, float]] = []
        async with clients.reader(stack.bootstrap_servers) as reader:
            while not readings or readings[-1][0] < backlog.windows:
                if time.monotonic() - began_s > TIMEOUT_S or not all(worker.child.running for worker in workers):
                    raise RunFailed(f"{count} workers: {readings[-1:]} of {backlog.windows} predictions")
                predicted = await count_records(reader, settings, topic)
                cpu_s = sum(sum(process.cpu_times()[:2]) for process in processes)
                readings.append((predicted, time.monotonic(), cpu_s))
                await asyncio.sleep(0.05)
        begin, end = (next(r for r in readings if r[0] >= share * backlog.windows) for share in MEASURED_SHARES)
        windows = end[0] - begin[0]
        return {
            "windows_s": windows / (end[1] - begin[1]),
            "ms": (end[2] - begin[2]) / windows * 1e3,
            "least": min(worker.read_metric("braid_predictions_total") for worker in workers),
            "resident_mb": sum(process.memory_info().rss for process in processes) / 2**20,
        }
    finally:
        await asyncio.gather(*(worker.child.stop(10) for worker in workers))


def measure_alone() -> float:
    """Return the windows/s of the stub without Kafka, Redis and media."""
    timing = StubTiming(float(STUB_ENVIRONMENT["STUB_FIXED_MS"]), float(STUB_ENVIRONMENT["STUB_EACH_MS"]))
    model = StubModel(load_model(resolve_checkpoint(load().fusion.model), "cpu"), timing, CASE.batch)
    windows, batches, began_s = [WindowFeatures()] * CASE.batch, 0, time.monotonic()
    while time.monotonic() < began_s + ALONE_S:
        model.fuse(windows)
        batches += 1
    return batches * CASE.batch / (time.monotonic() - began_s)


async def measure(folder: Path, counts: Sequence[int], rounds: int) -> dict[int, dict[str, float]]:
    """Return the figures for each number of workers."""
    rows: dict[int, dict[str, float]] = {}
    async with LocalStack(folder, load(kafka={"bootstrap_servers": ""}, redis={"url": ""})) as stack:
        backlog = await align_backlog(stack, CASE)
        for count in counts:
            rows[count] = median_of_each([await measure_workers(stack, backlog, count) for _ in range(rounds)])
            sys.stderr.write(f"{count}: {rows[count]}\n")
    return rows


def render_page(rows: Mapping[int, Mapping[str, float]], alone: float, rounds: int, machine: Mapping[str, Any]) -> str:
    """Return the page of results."""
    lines = [
        "# Several fusion workers on one machine",
        "",
        f"`python -m benchmarks.fusion_processes --write` on {machine['cpus']} CPUs ({machine['architecture']}), commit "
        f"{machine['commit']}, {machine['began']}, load average {machine['load_before']:g}.",
        f"{'One run each' if rounds == 1 else f'Medians of {rounds} runs'}. Windows {CASE.name}, {PARTITIONS} partitions, the load of class A of "
        "[performance](../performance.md) as a backlog; a stub that all",
        "workers share as one device: it serves one batch at a time, 0.30 ms and 0.031 ms a window.",
        "",
        f"The stub alone, with inputs in memory: {alone:,.0f} windows/s.",
        "",
        "| `fusion.processes` | windows/s, end to end from Kafka | of the device alone | CPU of all workers, ms per window "
        "| predictions of the worker with the fewest | resident MB of all |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for count, row in rows.items():
        lines.append(
            f"| {count} | {row['windows_s']:,.0f} | {row['windows_s'] / alone:.1%} | {row['ms']:.2f} | {row['least']:,.0f} "
            f"| {row['resident_mb']:,.0f} |"
        )
    lines += [
        "",
        "Kafka, Redis and the workers share the CPUs, so that windows/s cannot rise beyond them. The CPU per window says how",
        "many cores a device needs: windows/s of the device alone x ms per window / 1000.",
    ]
    return "\n".join(lines) + "\n"


async def main() -> None:
    """Measure, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", default="1,2,3,4", help="how many workers, several numbers with commas between")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"write docs/results/{PAGE}")
    options = parser.parse_args()
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="braid-bench-") as folder:
        rows = await measure(Path(folder), [int(n) for n in options.processes.split(",")], options.rounds)
    print_page(render_page(rows, measure_alone(), options.rounds, machine), PAGE, write=options.write)


if __name__ == "__main__":
    asyncio.run(main())
