"""One run of one system over one load (class A, ingest and align), and the figures that come of it."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from aiokafka import TopicPartition
from redis.asyncio import Redis

from benchmarks.device_load import DeviceLoad
from benchmarks.peer_environments import Progress
from benchmarks.process_sampler import ProcessSampler
from benchmarks.results import BenchmarkRow, percentiles
from benchmarks.systems import BenchmarkJob, SystemUnderTest
from benchmarks.whole_system import RunFailed, run_for_report
from benchmarks.window_check import CheckedRun, check_windows
from services.kafka import clients, topic_admin
from services.local.process import ChildProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings, load

WARM_UP_S = 5.0
MEASURED_UNTIL_SHARE = 0.9  # of a backlog's windows: the last ones wait for the idle timeout
START_TIMEOUT_S = 90.0
QUIET_S = 5.0  # the last windows of an idle session come after three seconds
DRAIN_TIMEOUT_S = 240.0
REDIS_BYTES = 4_000_000_000
WARM_UP_LOAD = DeviceLoad(sessions=8, seconds=6, small=True, late=0, copies=0, broken=0, prefix="probe")


@dataclass(frozen=True, slots=True)
class AlignmentCase:
    """A load and a job, the same for every system.

    A live load arrives at its own pace at a system that is already running. Otherwise the load is a backlog that exists
    before the system starts, and the measurement begins when `measured_from_share` of its windows are written (until
    then, several processes divide the partitions).
    """

    name: str
    load: DeviceLoad
    live: bool
    job: BenchmarkJob
    measured_from_share: float = 0.1


async def run_case(stack: LocalStack, system: SystemUnderTest, case: AlignmentCase, progress: Progress) -> BenchmarkRow:
    """Run a system on fresh topics, send the load, wait for the last window and check all windows.

    Raises:
        RunFailed: A process ends, or the system does not finish in time.
    """
    job = replace(case.job, prefix=f"bench-{secrets.token_hex(4)}")
    settings = job_settings(stack, job)
    async with clients.admin(stack.bootstrap_servers) as admin:
        await topic_admin.create_missing_topics(admin, settings)
    children: Sequence[ChildProcess] = []
    try:
        if not case.live:
            report = await send_load(stack, job, case.load, live=False)
        children = system.start(stack, job, progress)
        sampler = ProcessSampler(role_pids(stack, children))
        sampler.start()
        if case.live:
            await send_load(stack, job, WARM_UP_LOAD, live=False)
            await _wait_for_first_window(stack, settings, children)
            report = await send_load(stack, job, case.load, live=True)
        await wait_until_quiet(stack, settings, children)
        sampler.stop()
    finally:
        await asyncio.gather(*(child.stop(10) for child in children))
    checked = await check_windows(
        stack.bootstrap_servers, settings.topic_names(), job.partitions, settings.alignment_config(), system.is_braid
    )
    async with clients.admin(stack.bootstrap_servers) as admin:
        await admin.delete_topics([topic.name for topic in topic_admin.topic_definitions(settings)])
    return build_row(system.name, system.versions(progress), case, report, checked, sampler, system.limitation)


def job_settings(stack: LocalStack, job: BenchmarkJob) -> Settings:
    """Return Braid's settings for a job: the names of its topics and the alignment that the oracle checks."""
    base = stack.settings()
    return load(
        kafka=base.kafka.model_dump() | {"group_prefix": job.prefix},
        redis=base.redis.model_dump(),
        topics={"prefix": job.prefix, "partitions": job.partitions},
        alignment={"size_ms": job.size_ms, "hop_ms": job.hop_ms, "early": job.early},
    )


async def send_load(stack: LocalStack, job: BenchmarkJob, device_load: DeviceLoad, live: bool) -> dict[str, Any]:
    """Send a load from its own process, and return that process's report.

    Raises:
        RunFailed: The generator ends with an error.
    """
    child = ChildProcess(f"{job.prefix}-{device_load.prefix}", stack.folder)
    arguments = generator_arguments(stack, job.prefix, job.partitions, device_load, live)
    return await run_for_report(child, "benchmarks.generator", arguments)


def generator_arguments(
    stack: LocalStack, prefix: str, partitions: int, device_load: DeviceLoad, live: bool
) -> list[str]:
    """Return the command-line arguments of the generator, without the path of its report."""
    load_json = json.dumps({**asdict(device_load), "live": live})
    return ["load", stack.bootstrap_servers, prefix, str(partitions), load_json]


def role_pids(stack: LocalStack, children: Sequence[ChildProcess]) -> dict[str, list[int]]:
    """Return the processes whose CPU is counted apart: the system's, the broker's and those of Redis."""
    parts = {"broker": stack.broker, "redis": stack.redis}
    roles = {role: [part.child.pid or 0] for role, part in parts.items() if part is not None}
    return {"system": [child.pid or 0 for child in children], **roles}


async def reset_redis(stack: LocalStack) -> None:
    """Empty Redis and give it room for what a run writes faster than it expires."""
    client = Redis.from_url(stack.redis_url)
    await client.flushall()
    await client.config_set("maxmemory", str(REDIS_BYTES))
    await client.aclose()


async def count_records(reader: Any, settings: Settings, topic: str | None = None) -> int:
    """Count the records of a topic, by default of the windows topic."""
    topic = topic or settings.topic_names().windows
    ends = await reader.end_offsets([TopicPartition(topic, n) for n in range(settings.topics.partitions)])
    return sum(ends.values())


async def _wait_for_first_window(stack: LocalStack, settings: Settings, children: Sequence[ChildProcess]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    async with clients.reader(stack.bootstrap_servers) as reader:
        while not await count_records(reader, settings):
            _require_running(children)
            if time.monotonic() > deadline:
                raise RunFailed(f"no window within {START_TIMEOUT_S:.0f} s:\n{children[0].log_tail()}")
            await asyncio.sleep(0.1)


async def wait_until_quiet(
    stack: LocalStack, settings: Settings, children: Sequence[ChildProcess], topic: str | None = None
) -> None:
    """Wait until nothing is written to a topic (by default the windows topic) for `QUIET_S` seconds.

    Raises:
        RunFailed: A process ends, or records still arrive after `DRAIN_TIMEOUT_S`.
    """
    began = last_change = time.monotonic()
    count = 0
    async with clients.reader(stack.bootstrap_servers) as reader:
        while time.monotonic() - last_change < (QUIET_S if count else START_TIMEOUT_S):
            _require_running(children)
            new_count = await count_records(reader, settings, topic)
            if new_count != count:
                count, last_change = new_count, time.monotonic()
            if last_change - began > DRAIN_TIMEOUT_S:
                raise RunFailed(f"records still arrive after {DRAIN_TIMEOUT_S:.0f} s")
            await asyncio.sleep(0.1)


def _require_running(children: Sequence[ChildProcess]) -> None:
    for child in children:
        if not child.running:
            raise RunFailed(f"{child.name} ended with code {child.exit_code}:\n{child.log_tail()}")


def build_row(
    system: str,
    versions: dict[str, str],
    case: AlignmentCase,
    report: Mapping[str, Any],
    checked: CheckedRun,
    sampler: ProcessSampler,
    limitation: str = "",
) -> BenchmarkRow:
    """Compute the figures of the measured interval, which excludes the start and what follows the end of the load.

    Raises:
        RunFailed: Too few windows were written.
    """
    appended = sorted(at_ms for at_ms, _ in checked.windows)
    if len(appended) < 10:
        raise RunFailed(f"only {len(appended)} windows")
    if case.live:
        begin_ms = report["begin_ms"] + WARM_UP_S * 1000
        end_ms = report["begin_ms"] + case.load.seconds * 1000
    else:
        begin_ms, end_ms = (
            appended[int(len(appended) * share)] for share in (case.measured_from_share, MEASURED_UNTIL_SHARE)
        )
    windows = sum(begin_ms <= at_ms < end_ms for at_ms in appended)
    if case.live:
        events = sum(begin_ms <= at_ms < end_ms for at_ms in checked.events_ms)
    else:
        events = round(report["records"] * windows / len(appended))
    if not windows or not events:
        raise RunFailed("no window was written in the measured interval")
    seconds = (end_ms - begin_ms) / 1000
    cpu_s = {role: sampler.cpu_s(role, begin_ms, end_ms) for role in sampler.samples}
    latencies_ms = (
        [at_ms - closed_ms for at_ms, closed_ms in checked.windows if begin_ms <= at_ms < end_ms] if case.live else []
    )
    return BenchmarkRow(
        case=case.name,
        system=system,
        versions=versions,
        sessions=case.load.sessions,
        workers=case.job.workers,
        window=f"{case.job.size_ms / 1000:g} s / {case.job.hop_ms / 1000:g} s",
        seconds=seconds,
        events=events,
        windows=windows,
        events_per_s=events / seconds,
        windows_per_s=windows / seconds,
        cpu_us_per_event=cpu_s["system"] / events * 1e6,
        cpu_ms_per_window=cpu_s["system"] / windows * 1e3,
        broker_cpu_us_per_event=cpu_s.get("broker", 0.0) / events * 1e6,
        redis_cpu_us_per_event=cpu_s.get("redis", 0.0) / events * 1e6,
        bytes_per_event=report["bytes"] / report["records"],
        rss_mb=sampler.rss_mb("system", begin_ms, end_ms),
        latency_ms=percentiles(latencies_ms),
        behind_ms=report["behind_ms"] if case.live else 0,
        wrong=checked.wrong,
        missing=checked.missing,
        copies=checked.copies,
        troubles=checked.troubles,
        checked=len(checked.windows) + checked.missing,
        cannot=limitation,
    )
