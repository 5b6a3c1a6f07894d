"""Class A, ingest and align: one run of one system, and what is read from it."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from aiokafka import TopicPartition
from redis.asyncio import Redis

from benchmarks.device_load import DeviceLoad
from benchmarks.peer_environments import Progress
from benchmarks.process_sampler import ProcessSampler
from benchmarks.results import BenchmarkRow, percentiles
from benchmarks.systems import BenchmarkJob, SystemUnderTest
from benchmarks.window_check import CheckedRun, check_windows
from services.kafka import clients, topic_admin
from services.local.process import Child
from services.local.stack import LocalStack
from services.runtime.settings import Settings, load

WARM_S = 5.0
TO_SHARE = 0.9  # of the windows of a backlog: the last ones wait for silence
UP_WITHIN_S = 90.0
QUIET_S = 5.0  # an idle session's last windows come after three
DRAINED_WITHIN_S = 240.0
REDIS_BYTES = 4_000_000_000
PROBE = DeviceLoad(sessions=8, seconds=6, small=True, late=0, copies=0, broken=0, prefix="probe")


@dataclass(frozen=True, slots=True)
class AlignmentCase:
    """What is asked of every system.

    live: the load comes at its own pace, to a system that is up; else it stands there when the system starts, and what
    is measured begins when the share `from_share` of its windows is out (several processes have divided the partitions
    by then).
    """

    name: str
    load: DeviceLoad
    live: bool
    job: BenchmarkJob
    from_share: float = 0.1


class RunFailed(Exception):
    """A run of which there is nothing to report; the message says why."""


async def run(stack: LocalStack, system: SystemUnderTest, case: AlignmentCase, say: Progress) -> BenchmarkRow:
    """One run: the system on fresh topics, the load, the wait for the last window, the check. Raises Failed."""
    job = replace(case.job, prefix=f"bench-{secrets.token_hex(4)}")
    settings = job_settings(stack, job)
    async with clients.admin(stack.bootstrap_servers) as admin:
        await topic_admin.apply(admin, settings)
    children: Sequence[Child] = []
    try:
        if not case.live:
            told = await send_load(stack, job, case.load, live=False)
        children = system.start(stack, job, say)
        sampler = ProcessSampler(role_pids(stack, children))
        sampler.start()
        if case.live:
            await send_load(stack, job, PROBE, live=False)
            await _until_windows(stack, settings, children)
            told = await send_load(stack, job, case.load, live=True)
        await wait_until_quiet(stack, settings, children)
        sampler.stop()
    finally:
        await asyncio.gather(*(child.stop(10) for child in children))
    judged = await check_windows(
        stack.bootstrap_servers, settings.topic_names(), job.partitions, settings.semantics(), system.is_braid
    )
    async with clients.admin(stack.bootstrap_servers) as admin:
        await admin.delete_topics([topic.name for topic in topic_admin.wanted(settings)])
    return build_row(system.name, system.versions(say), case, told, judged, sampler, system.limitation)


def job_settings(stack: LocalStack, job: BenchmarkJob) -> Settings:
    """Braid's settings for a job: they name the topics and say what the oracle is to find."""
    given = stack.settings()
    return load(
        kafka=given.kafka.model_dump() | {"group_prefix": job.prefix},
        redis=given.redis.model_dump(),
        topics={"prefix": job.prefix, "partitions": job.partitions},
        alignment={"size_ms": job.size_ms, "hop_ms": job.hop_ms, "early": job.early},
    )


async def send_load(stack: LocalStack, job: BenchmarkJob, load: DeviceLoad, live: bool) -> dict[str, Any]:
    """Send a load from a process of its own; what it tells of it. Raises Failed."""
    name = f"{job.prefix}-{load.prefix}"
    told = stack.folder / f"{name}.json"
    child = Child(name, stack.folder)
    asked = json.dumps({**asdict(load), "live": live})
    here = [stack.bootstrap_servers, job.prefix, str(job.partitions), asked, str(told)]
    child.start([sys.executable, "-m", "benchmarks.generator", "load", *here])
    try:
        code = await child.ended()
    finally:
        child.kill()
    if code != 0:
        raise RunFailed(f"the generator ended with code {code}:\n{child.last_words()}")
    sent: dict[str, Any] = json.loads(told.read_text())
    return sent


def role_pids(stack: LocalStack, children: Sequence[Child]) -> dict[str, list[int]]:
    """Whose CPU is counted apart: the system's, the broker's and Redis's."""
    parts = {"broker": stack.broker, "redis": stack.redis}
    roles = {role: [part.child.pid or 0] for role, part in parts.items() if part is not None}
    return {"system": [child.pid or 0 for child in children], **roles}


async def reset_redis(stack: LocalStack) -> None:
    """An empty Redis with room for what a run writes faster than it expires."""
    client = Redis.from_url(stack.redis_url)
    await client.flushall()
    await client.config_set("maxmemory", str(REDIS_BYTES))
    await client.aclose()


async def count_records(reader: Any, settings: Settings, topic: str | None = None) -> int:
    """How many records a topic has, by default that of the windows."""
    topic = topic or settings.topic_names().windows
    ends = await reader.end_offsets([TopicPartition(topic, n) for n in range(settings.topics.partitions)])
    return sum(ends.values())


async def _until_windows(stack: LocalStack, settings: Settings, children: Sequence[Child]) -> None:
    """Wait for the first windows: the system is up."""
    deadline = time.monotonic() + UP_WITHIN_S
    async with clients.reader(stack.bootstrap_servers) as reader:
        while not await count_records(reader, settings):
            _alive(children)
            if time.monotonic() > deadline:
                raise RunFailed(f"no window within {UP_WITHIN_S:.0f} s:\n{children[0].last_words()}")
            await asyncio.sleep(0.1)


async def wait_until_quiet(
    stack: LocalStack, settings: Settings, children: Sequence[Child], topic: str | None = None
) -> None:
    """Wait until nothing has been written to a topic for a while, by default that of the windows. Raises Failed."""
    began = since = time.monotonic()
    count = 0
    async with clients.reader(stack.bootstrap_servers) as reader:
        while time.monotonic() - since < (QUIET_S if count else UP_WITHIN_S):
            _alive(children)
            found = await count_records(reader, settings, topic)
            if found != count:
                count, since = found, time.monotonic()
            if since - began > DRAINED_WITHIN_S:
                raise RunFailed(f"still behind after {DRAINED_WITHIN_S:.0f} s")
            await asyncio.sleep(0.1)


def _alive(children: Sequence[Child]) -> None:
    for child in children:
        if not child.running:
            raise RunFailed(f"{child.name} ended with code {child.exit_code}:\n{child.last_words()}")


def build_row(
    system: str,
    versions: dict[str, str],
    case: AlignmentCase,
    told: dict[str, Any],
    judged: CheckedRun,
    sampler: ProcessSampler,
    cannot: str = "",
) -> BenchmarkRow:
    """The figures of the measured interval: without the start, and without what comes after the load has ended."""
    appended = sorted(at_ms for at_ms, _ in judged.windows)
    if len(appended) < 10:
        raise RunFailed(f"only {len(appended)} windows")
    if case.live:
        begin_ms = told["begin_ms"] + WARM_S * 1000
        end_ms = told["begin_ms"] + case.load.seconds * 1000
    else:
        begin_ms, end_ms = (appended[int(len(appended) * share)] for share in (case.from_share, TO_SHARE))
    windows = sum(begin_ms <= at_ms < end_ms for at_ms in appended)
    if case.live:
        events = sum(begin_ms <= at_ms < end_ms for at_ms in judged.events_ms)
    else:
        events = round(told["records"] * windows / len(appended))
    if not windows or not events:
        raise RunFailed("no window came in the measured interval")
    seconds = (end_ms - begin_ms) / 1000
    cpu_s = {role: sampler.cpu_s(role, begin_ms, end_ms) for role in sampler.samples}
    waits = [at - closed for at, closed in judged.windows if begin_ms <= at < end_ms] if case.live else []
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
        bytes_per_event=told["bytes"] / told["records"],
        rss_mb=sampler.rss_mb("system", begin_ms, end_ms),
        latency_ms=percentiles(waits),
        behind_ms=told["behind_ms"] if case.live else 0,
        wrong=judged.wrong,
        missing=judged.missing,
        copies=judged.copies,
        troubles=judged.troubles,
        checked=len(judged.windows) + judged.missing,
        cannot=cannot,
    )
