"""Classes R and L: what `braid up` costs at rest and with a few live rooms (`make bench-rooms`).

CPU time comes from /proc, which other processes on the machine hardly change. The load generator is not counted.
A room is a session with 10 chunks of audio, 2 frames of 640 x 360 and a text a second; nothing of it is late.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import psutil
from aiokafka import TopicPartition

from benchmarks.device_load import DeviceLoad
from benchmarks.results import describe_machine, percentiles, print_page
from benchmarks.whole_system import RunFailed, run_for_report, run_in_temporary_folder
from services.contract.canonical import dumps, loads_object
from services.contract.topics import Topics
from services.kafka import clients
from services.kafka.log_reader import read_range
from services.local.process import ChildProcess
from services.runtime.settings import load
from tests.integration.mosquitto import Mosquitto

ROOM_COUNTS = (0, 1, 8, 64)
SETTLE_S = 10
UP_WITHIN_S = 180
BRAID = str(Path(sys.executable).parent / "braid")
FETCHES = re.compile(r"^braid_kafka_fetches_total(?:{.*})? (\S+)$", re.MULTILINE)
_EXPORT = re.compile(r"^ +export (BRAID_\w+)=(.*)$", re.MULTILINE)
_METRICS = re.compile(r"^(\w+) +http://127\.0\.0\.1:(\d+)/metrics", re.MULTILINE)


class ProcessCounters(NamedTuple):
    """The counters of one process at one moment: CPU seconds, voluntary context switches, Kafka fetches."""

    at_s: float
    cpu_s: float
    switches: int
    fetches: float


@dataclass(frozen=True, slots=True)
class ProcessCost:
    """What one process costs.

    Attributes:
        cpu_percent: Of one core.
        rss_mb: Resident memory.
        pss_mb: Resident memory in which pages that several processes map count only in part.
        wakeups_per_s: Voluntary context switches of all its threads.
        fetches_per_s: Fetch requests to Kafka.
    """

    name: str
    cpu_percent: float
    rss_mb: float
    pss_mb: float
    wakeups_per_s: float
    fetches_per_s: float


@dataclass(frozen=True, slots=True)
class RoomsRow:
    """One case: its processes, and the time from the last record that a window needed to its prediction."""

    rooms: int
    seconds: float
    costs: Sequence[ProcessCost]
    predictions: int
    latency_ms: dict[str, float]


class RunningUp:
    """A `braid up` with its processes, which its folder and its output name."""

    def __init__(self, child: ChildProcess, folder: Path) -> None:
        output = child.log.read_text()
        self.environment = dict(_EXPORT.findall(output))
        self._ports = {name: int(port) for name, port in _METRICS.findall(output)}
        pids = {path.stem: int(path.read_text().split()[0]) for path in sorted(folder.glob("*.pid"))}
        assert child.pid is not None
        self.pids = {"up": child.pid, **pids}

    def counters(self) -> dict[str, ProcessCounters]:
        """Read the counters of all processes. Raises RunFailed if one has ended."""
        counters = {}
        for name, pid in self.pids.items():
            try:
                times = psutil.Process(pid).cpu_times()
                switches = sum(_voluntary_switches(task) for task in Path(f"/proc/{pid}/task").iterdir())
            except (psutil.NoSuchProcess, OSError) as error:
                raise RunFailed(f"{name} has ended.") from error
            fetches = self._fetches(name.partition("-")[0])
            counters[name] = ProcessCounters(time.monotonic(), times.user + times.system, switches, fetches)
        return counters

    def _fetches(self, service: str) -> float:
        if service not in self._ports:
            return 0.0
        with urllib.request.urlopen(f"http://127.0.0.1:{self._ports[service]}/metrics", timeout=10) as response:
            found = FETCHES.search(response.read().decode())
        return float(found[1]) if found else 0.0


def _voluntary_switches(task: Path) -> int:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # the thread has just ended
        for line in (task / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                return int(line.split()[1])
    return 0


def _process_cost(name: str, pid: int, before: ProcessCounters, after: ProcessCounters) -> ProcessCost:
    memory, seconds = psutil.Process(pid).memory_full_info(), after.at_s - before.at_s
    return ProcessCost(
        name=name,
        cpu_percent=(after.cpu_s - before.cpu_s) / seconds * 100,
        rss_mb=memory.rss / 1e6,
        pss_mb=memory.pss / 1e6,
        wakeups_per_s=(after.switches - before.switches) / seconds,
        fetches_per_s=(after.fetches - before.fetches) / seconds,
    )


@contextlib.asynccontextmanager
async def run_up(folder: Path) -> AsyncIterator[RunningUp]:
    """Run `braid up`, with the MQTT bridge if there is a mosquitto. Raises RunFailed if it does not start."""
    state, mosquitto = folder / "state", None
    environment = {"BRAID_GATEWAY__PORT": "0"}
    if shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
        mosquitto = await Mosquitto(folder).start()
        environment |= {"BRAID_MQTT__HOST": "127.0.0.1", "BRAID_MQTT__PORT": str(mosquitto.port)}
    child = ChildProcess("up", folder)
    try:
        child.start([BRAID, "up", "--folder", str(state)], environment)
        deadline_s = time.monotonic() + UP_WITHIN_S
        while "Ctrl-C stops" not in child.log.read_text():
            if not child.running or time.monotonic() > deadline_s:
                raise RunFailed(f"`braid up` does not start:\n{child.log_tail()}")
            await asyncio.sleep(0.2)
        yield RunningUp(child, state)
    finally:
        await child.stop()
        if mosquitto is not None:
            await mosquitto.child.stop()


async def measure_rooms(running: RunningUp, folder: Path, rooms: int, seconds: float) -> RoomsRow:
    """Measure the processes while rooms are live. Raises RunFailed."""
    sending = None
    if rooms:
        device_load = DeviceLoad(
            rooms, SETTLE_S + seconds + 2, photos=True, frames=True, late=0, copies=0, broken=0, prefix=f"of-{rooms}"
        )
        servers, topics = running.environment["BRAID_KAFKA__BOOTSTRAP_SERVERS"], load().topics
        fields = dumps(asdict(device_load) | {"live": True}).decode()
        arguments = ["load", servers, topics.prefix, str(topics.partitions), fields]
        child = ChildProcess(f"generator-{rooms}", folder)
        sending = asyncio.create_task(run_for_report(child, "benchmarks.generator", arguments))
    await asyncio.sleep(SETTLE_S)
    before, begin_ms = await asyncio.to_thread(running.counters), time.time() * 1000
    await asyncio.sleep(seconds)
    after, end_ms = await asyncio.to_thread(running.counters), time.time() * 1000
    costs = [_process_cost(name, pid, before[name], after[name]) for name, pid in running.pids.items()]
    if sending is not None:
        await sending
        await asyncio.sleep(SETTLE_S)  # the last windows wait for the idle timeout
    latencies = await _prediction_latencies(running, begin_ms, end_ms)
    return RoomsRow(rooms, seconds, costs, len(latencies), percentiles(latencies))


async def _prediction_latencies(running: RunningUp, begin_ms: float, end_ms: float) -> list[float]:
    """Return the ms from the append time of a final window's last record to that of its prediction."""
    servers = running.environment["BRAID_KAFKA__BOOTSTRAP_SERVERS"]
    settings = load()
    topics: Topics = settings.topic_names()
    closed_ms: dict[str, float] = {}
    appended_ms: dict[str, int] = {}
    async with clients.reader(servers) as reader:
        for number in range(settings.topics.partitions):
            async for record in read_range(reader, TopicPartition(topics.windows, number)):
                window = loads_object(record.value or b"")
                if window["final"] and begin_ms <= window["closed_us"] / 1000 < end_ms:
                    closed_ms[window["id"]] = window["closed_us"] / 1000
            async for record in read_range(reader, TopicPartition(topics.predictions, number)):
                prediction = loads_object(record.value or b"")
                if prediction["final"]:
                    appended_ms.setdefault(prediction["id"].rsplit("@", 1)[0], record.timestamp)
    return [appended_ms[id] - closed_ms[id] for id in closed_ms.keys() & appended_ms.keys()]


async def run_cases(folder: Path, room_counts: Sequence[int], seconds: float) -> list[RoomsRow]:
    """Measure one `braid up` at rest and with each number of rooms."""
    rows = []
    async with run_up(folder) as running:
        for rooms in room_counts:
            rows.append(await measure_rooms(running, folder, rooms, seconds))
            sys.stderr.write("\n".join(_render_case(rows[-1])) + "\n")
    return rows


def render_page(rows: Sequence[RoomsRow], command: str, load_before: float) -> str:
    """Render the tables."""
    m = describe_machine()
    lines = [
        "# At rest and with live rooms",
        "",
        f"`{command}` on {m['cpus']} CPUs ({m['architecture']}), Python {m['python']}, commit {m['commit']}, "
        f"{m['began']}; load average {load_before:.1f} before it began, {m['load_before']:.1f} after it.",
        "CPU is in percent of one core, from /proc; PSS counts pages that several processes map only in part.",
    ]
    return "\n".join([*lines, *(line for row in rows for line in _render_case(row))]) + "\n"


def _render_case(row: RoomsRow) -> list[str]:
    name = "R: at rest" if not row.rooms else f"L: {row.rooms} live room{'s' if row.rooms > 1 else ''}"
    latency = ""
    if row.latency_ms:
        latency = (
            f"; {row.predictions:,} final predictions, from the last record of the window to the prediction p50 "
            f"{row.latency_ms['p50']:.0f} ms, p99 {row.latency_ms['p99']:.0f} ms"
        )
    columns = ("cpu_percent", "rss_mb", "pss_mb", "wakeups_per_s", "fetches_per_s")
    total = [sum(getattr(cost, column) for cost in row.costs) for column in columns]
    return [
        "",
        f"## {name} ({row.seconds:g} s{latency})",
        "",
        "| process | CPU % of a core | MB | PSS MB | wake-ups/s | fetches/s |",
        "|---|---:|---:|---:|---:|---:|",
        *(_render_line(cost.name, [getattr(cost, column) for column in columns]) for cost in row.costs),
        _render_line("**all**", total),
    ]


def _render_line(name: str, values: Sequence[float]) -> str:
    cpu, rss, pss, wakeups, fetches = values
    return f"| {name} | {cpu:.1f} | {rss:.0f} | {pss:.0f} | {wakeups:.0f} | {fetches:.1f} |"


def main() -> int:
    """Run the cases and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.live_rooms", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 s a case instead of 120")
    parser.add_argument("--rooms", default=",".join(map(str, ROOM_COUNTS)), help="numbers of rooms; 0 is at rest")
    parser.add_argument("--write", action="store_true", help="write docs/results/rooms.md")
    options = parser.parse_args()
    load_before, seconds = os.getloadavg()[0], 20 if options.quick else 120
    room_counts = [int(text) for text in options.rooms.split(",")]
    rows = run_in_temporary_folder(lambda folder: run_cases(folder, room_counts, seconds))
    command = "make bench-rooms" + (" QUICK=1" if options.quick else "")
    print_page(render_page(rows, command, load_before), "rooms.md", write=options.write)
    return 0


if __name__ == "__main__":
    sys.exit(main())
