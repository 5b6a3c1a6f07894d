"""Does memory grow? The whole system at a steady rate for half an hour: `python -m benchmarks.soak` (`make soak`).

Sessions live for a minute and others take their place, so that what is kept for each would show. Each process is looked
at every second; the first third of the time is warm-up (caches fill, with bounds small enough for that), over the rest a
line is fitted to its resident memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.device_load import DeviceLoad
from benchmarks.process_sampler import ProcessSample, ProcessSampler
from benchmarks.results import describe_machine, print_page
from benchmarks.whole_system import SERVICES, run_in_temporary_folder, run_system
from services.local.process import Child, StartError

LIFE_S = 60
SLOPE_MAX_MB_MIN = 1.0
WARM = 1 / 3
# Caches that fill while warming up: what grows after that is no cache.
BOUNDS = {"BRAID_FUSION__CACHE_MB": "4", "BRAID_GATEWAY__HISTORY_S": "60"}


@dataclass(frozen=True, slots=True)
class MemoryTrend:
    """How one process went after the warm-up: MB, MB a minute, files open in the first and the last quarter."""

    name: str
    begin_mb: float
    end_mb: float
    slope_mb_min: float
    files_begin: float
    files_end: float
    cpu_share: float

    @property
    def is_service(self) -> bool:
        return self.name in SERVICES

    @property
    def is_flat(self) -> bool:
        """True where memory does not grow, and of our own processes no file stays open. The broker opens log segments."""
        return self.slope_mb_min < SLOPE_MAX_MB_MIN and (not self.is_service or self.files_end <= self.files_begin)


def memory_trend(name: str, samples: Sequence[ProcessSample]) -> MemoryTrend:
    """The course of a process from its samples, without the warm-up."""
    kept = samples[int(len(samples) * WARM) :]
    minutes = [(s.at_ms - kept[0].at_ms) / 60_000 for s in kept]
    fit = statistics.linear_regression(minutes, [s.rss / 1e6 for s in kept])
    quarter = max(len(kept) // 4, 1)
    first, last = kept[:quarter], kept[-quarter:]
    return MemoryTrend(
        name=name,
        begin_mb=statistics.median(s.rss / 1e6 for s in first),
        end_mb=statistics.median(s.rss / 1e6 for s in last),
        slope_mb_min=fit.slope,
        files_begin=statistics.median(s.files for s in first),
        files_end=statistics.median(s.files for s in last),
        cpu_share=(kept[-1].cpu_s - kept[0].cpu_s) / (kept[-1].at_ms - kept[0].at_ms) * 1000,
    )


async def soak(minutes: float, sessions: int, folder: Path) -> tuple[list[MemoryTrend], int]:
    """Run the system; the courses of its processes, and how many records were sent. Raises StartError."""
    async with run_system(folder, BOUNDS) as running:
        stack, services = running.stack, running.services
        told, generator = folder / "sent.json", Child("generator", folder)
        asked = asdict(DeviceLoad(sessions, minutes * 60, photos=True, life_s=LIFE_S)) | {"live": True}
        topics = running.settings.topics
        here = [stack.bootstrap_servers, topics.prefix, str(topics.partitions), json.dumps(asked), str(told)]
        generator.start([sys.executable, "-m", "benchmarks.generator", "load", *here])
        assert stack.broker is not None
        assert stack.redis is not None
        roles = {name: [service.child.pid or 0] for name, service in services.items()}
        roles |= {"broker": [stack.broker.child.pid or 0], "redis": [stack.redis.child.pid or 0]}
        sampler = ProcessSampler(roles, every_s=1)
        sampler.start()
        done = asyncio.create_task(generator.ended())
        for minute in range(int(minutes) + 1):
            await asyncio.wait([done], timeout=60)
            memory = ", ".join(f"{name} {s[-1].rss / 1e6:.0f} MB" for name, s in sampler.samples.items())
            sys.stderr.write(f"{minute + 1:3} min  {memory}\n")
            ended = [name for name, service in services.items() if not service.child.running]
            if ended:
                raise StartError(f"{ended[0]} ended:\n{services[ended[0]].child.last_words()}")
            if done.done():
                break
        sampler.stop()
        if await done != 0:
            raise StartError(f"the generator ended:\n{generator.last_words()}")
        return [memory_trend(name, s) for name, s in sampler.samples.items()], json.loads(told.read_text())["records"]


def render_page(courses: Sequence[MemoryTrend], minutes: float, sessions: int, records: int, load_then: float) -> str:
    """The page of the results."""
    rows = "\n".join(
        f"| {c.name} | {c.begin_mb:.0f} | {c.end_mb:.0f} | {c.slope_mb_min:+.2f} | {c.files_begin:.0f} | "
        f"{c.files_end:.0f} | {c.cpu_share:.2f} | {'yes' if c.is_flat else '**no**'} |"
        for c in courses
    )
    m = describe_machine()
    return (
        f"# Memory at a steady rate\n\n`make soak MINUTES={minutes:g}` on {m['cpus']} CPUs, commit {m['commit']}, "
        f"load average {load_then:.0f} to {m['load_before']:.0f}: {sessions} sessions at a time, each lasting "
        f"{LIFE_S} s, {records:,} records, early and final windows\npredicted by the shipped model. The first third is "
        f'warm-up. "Flat" is less than {SLOPE_MAX_MB_MIN:g} MB a minute over the rest, and no more open files in the last '
        "quarter than in the first\n(except for the broker, which opens a file per log segment).\n\n"
        "| process | MB, first quarter | MB, last quarter | MB a minute | files | files at the end | CPU | flat |\n"
        f"|---|---:|---:|---:|---:|---:|---:|---|\n{rows}\n"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--sessions", type=int, default=4, help="at a time, 13 records a second each")
    parser.add_argument("--write", action="store_true", help="write docs/results/soak.md")
    asked = parser.parse_args()
    load_then = os.getloadavg()[0]
    courses, records = run_in_temporary_folder(lambda folder: soak(asked.minutes, asked.sessions, folder))
    print_page(render_page(courses, asked.minutes, asked.sessions, records, load_then), "soak.md", write=asked.write)
    return 0 if all(c.is_flat for c in courses) else 1


if __name__ == "__main__":
    sys.exit(main())
