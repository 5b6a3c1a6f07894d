"""Measure whether memory grows: the whole system at a steady rate for half an hour (`make soak`).

Each session lasts a minute and is then replaced by another, so that a leak per session shows. Every process is sampled
once a second. The first third is warm-up, in which caches fill (they are configured small enough for that); a line is
fitted to the resident memory of the rest.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.alignment_run import generator_arguments
from benchmarks.device_load import DeviceLoad
from benchmarks.process_sampler import ProcessSample, ProcessSampler
from benchmarks.results import describe_machine, print_page
from benchmarks.whole_system import SERVICES, run_for_report, run_in_temporary_folder, run_system
from services.local.process import ChildProcess, StartError

SESSION_S = 60
SLOPE_MAX_MB_MIN = 1.0
WARM_UP_SHARE = 1 / 3
# Small caches fill during the warm-up: what grows after that is not a cache.
SMALL_CACHES = {"BRAID_FUSION__CACHE_MB": "4", "BRAID_GATEWAY__HISTORY_S": "60"}


@dataclass(frozen=True, slots=True)
class MemoryTrend:
    """Memory and open files of one process after the warm-up, in the first and the last quarter."""

    name: str
    begin_mb: float
    end_mb: float
    slope_mb_min: float
    files_begin: float
    files_end: float
    cpu_share: float

    @property
    def is_service(self) -> bool:
        """Whether this is a service of Braid, not the broker or Redis."""
        return self.name in SERVICES

    @property
    def is_flat(self) -> bool:
        """Whether memory and open files do not grow; the broker may open files, one per log segment."""
        return self.slope_mb_min < SLOPE_MAX_MB_MIN and (not self.is_service or self.files_end <= self.files_begin)


def memory_trend(name: str, samples: Sequence[ProcessSample]) -> MemoryTrend:
    """Compute the trend of a process from its samples, without the warm-up."""
    steady = samples[int(len(samples) * WARM_UP_SHARE) :]
    minutes = [(s.at_ms - steady[0].at_ms) / 60_000 for s in steady]
    fit = statistics.linear_regression(minutes, [s.rss / 1e6 for s in steady])
    quarter = max(len(steady) // 4, 1)
    first, last = steady[:quarter], steady[-quarter:]
    return MemoryTrend(
        name=name,
        begin_mb=statistics.median(s.rss / 1e6 for s in first),
        end_mb=statistics.median(s.rss / 1e6 for s in last),
        slope_mb_min=fit.slope,
        files_begin=statistics.median(s.files for s in first),
        files_end=statistics.median(s.files for s in last),
        cpu_share=(steady[-1].cpu_s - steady[0].cpu_s) / (steady[-1].at_ms - steady[0].at_ms) * 1000,
    )


async def soak(minutes: float, sessions: int, folder: Path) -> tuple[list[MemoryTrend], int]:
    """Run the system under a steady load.

    Returns:
        The trends of its processes and the number of records sent.

    Raises:
        StartError: A service does not start, or ends.
        RunFailed: The generator fails.
    """
    async with run_system(folder, SMALL_CACHES) as running:
        stack, services = running.stack, running.services
        topics = running.settings.topics
        device_load = DeviceLoad(sessions, minutes * 60, photos=True, life_s=SESSION_S)
        arguments = generator_arguments(stack, topics.prefix, topics.partitions, device_load, live=True)
        assert stack.broker is not None
        assert stack.redis is not None
        roles = {name: [service.child.pid or 0] for name, service in services.items()}
        roles |= {"broker": [stack.broker.child.pid or 0], "redis": [stack.redis.child.pid or 0]}
        sampler = ProcessSampler(roles, interval_s=1)
        sampler.start()
        sending = asyncio.create_task(
            run_for_report(ChildProcess("generator", folder), "benchmarks.generator", arguments)
        )
        for minute in range(int(minutes) + 1):
            await asyncio.wait([sending], timeout=60)
            memory = ", ".join(f"{name} {s[-1].rss / 1e6:.0f} MB" for name, s in sampler.samples.items())
            sys.stderr.write(f"{minute + 1:3} min  {memory}\n")
            ended = [name for name, service in services.items() if not service.child.running]
            if ended:
                raise StartError(f"{ended[0]} ended:\n{services[ended[0]].child.log_tail()}")
            if sending.done():
                break
        sampler.stop()
        report = await sending
        return [memory_trend(name, s) for name, s in sampler.samples.items()], report["records"]


def render_page(trends: Sequence[MemoryTrend], minutes: float, sessions: int, records: int, load_before: float) -> str:
    """Render docs/results/soak.md."""
    rows = "\n".join(
        f"| {c.name} | {c.begin_mb:.0f} | {c.end_mb:.0f} | {c.slope_mb_min:+.2f} | {c.files_begin:.0f} | "
        f"{c.files_end:.0f} | {c.cpu_share:.2f} | {'yes' if c.is_flat else '**no**'} |"
        for c in trends
    )
    m = describe_machine()
    return (
        f"# Memory at a steady rate\n\n`make soak MINUTES={minutes:g}` on {m['cpus']} CPUs, commit {m['commit']}, "
        f"load average {load_before:.0f} to {m['load_before']:.0f}: {sessions} sessions at a time, each lasting "
        f"{SESSION_S} s, {records:,} records, early and final windows\npredicted by the shipped model. The first third is "
        f'warm-up. "Flat" is less than {SLOPE_MAX_MB_MIN:g} MB a minute over the rest, and no more open files in the last '
        "quarter than in the first\n(except for the broker, which opens a file per log segment).\n\n"
        "| process | MB, first quarter | MB, last quarter | MB a minute | files | files at the end | CPU | flat |\n"
        f"|---|---:|---:|---:|---:|---:|---:|---|\n{rows}\n"
    )


def main() -> int:
    """Run the system, print the page, and return 0 if no process grows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--sessions", type=int, default=4, help="at a time, 13 records a second each")
    parser.add_argument("--write", action="store_true", help="write docs/results/soak.md")
    options = parser.parse_args()
    load_before = os.getloadavg()[0]
    trends, records = run_in_temporary_folder(lambda folder: soak(options.minutes, options.sessions, folder))
    print_page(
        render_page(trends, options.minutes, options.sessions, records, load_before), "soak.md", write=options.write
    )
    return 0 if all(c.is_flat for c in trends) else 1


if __name__ == "__main__":
    sys.exit(main())
