"""Classes B and C: the shipped streams answered by the shipped model, end to end or from windows that are prepared."""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition

from benchmarks.alignment_run import AlignmentCase, RunFailed, build_row, job_settings, role_pids, wait_until_quiet
from benchmarks.device_load import DeviceLoad
from benchmarks.generator import STREAM_NAMES
from benchmarks.peer_environments import Progress, package_versions
from benchmarks.process_sampler import ProcessSampler
from benchmarks.results import BenchmarkRow
from benchmarks.systems import BenchmarkJob, braid_environment
from benchmarks.window_check import CheckedRun, check_windows
from services.contract.canonical import loads_object
from services.kafka import clients, topic_admin
from services.kafka.log_reader import read_range
from services.local.process import Child
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings

STREAM_S = 119.0
LIVE_S = 45.0
AT_ONCE = 1e6
PARTITIONS = 8
STUB_CASE = "B: prepared windows, the stub device"
STUB_ENVIRONMENT = {"STUB_FIXED_MS": "0.30", "STUB_EACH_MS": "0.031", "STUB_BATCH": "8"}
TTL_S = 900  # prepared windows wait for a worker that starts


@dataclass(frozen=True, slots=True)
class StreamsCase:
    """One case: live at 1x or all at once; prepared: windows stand there, and only fusion is measured; stub: its
    device is a wait."""

    name: str
    live: bool = False
    prepared: bool = False
    fusions: int = 1
    stub: bool = False

    def case(self, prefix: str) -> AlignmentCase:
        seconds = LIVE_S if self.live else STREAM_S
        job = BenchmarkJob(prefix, PARTITIONS, workers=self.fusions, early=self.live)
        return AlignmentCase(self.name, DeviceLoad(len(STREAM_NAMES), seconds), self.live, job)


async def run(stack: LocalStack, asked: StreamsCase, say: Progress) -> BenchmarkRow:
    """One run: every window held against the oracle, every final window answered exactly once. Raises Failed."""
    case = asked.case(f"bench-{secrets.token_hex(4)}")
    settings = job_settings(stack, case.job)
    async with clients.admin(stack.bootstrap_servers) as admin:
        await topic_admin.apply(admin, settings)
    environment = braid_environment(stack, case.job) | {"BRAID_REDIS__TTL_S": str(TTL_S)}
    aligner = ServiceProcess("aligner", stack.folder, environment)
    environment |= STUB_ENVIRONMENT if asked.stub else {}
    module = "benchmarks.stub_model" if asked.stub else None
    fusions = [
        ServiceProcess("fusion", stack.folder, environment, n, module=module) for n in range(1, asked.fusions + 1)
    ]
    measured = [*([] if asked.prepared else [aligner]), *fusions]
    try:
        if asked.live:
            await _up([aligner, *fusions])
            sampler = _watch(stack, measured)
        told = await _play(stack, case)
        if asked.prepared:
            await _up([aligner])
            await wait_until_quiet(stack, settings, [aligner.child])
            await aligner.child.stop()
        if not asked.live:
            for service in measured:
                service.start()
            sampler = _watch(stack, measured)
        children = [service.child for service in measured]
        await wait_until_quiet(stack, settings, children, settings.topic_names().predictions)
        sampler.stop()
    finally:
        await asyncio.gather(*(service.child.stop(10) for service in (aligner, *fusions)))
    judged = await _judged(stack, settings)
    packages = ("braid", "torch", "aiokafka")
    return build_row("braid", package_versions(sys.executable, packages), case, told, judged, sampler)


async def _up(services: Sequence[ServiceProcess]) -> None:
    for service in services:
        service.start()
    await asyncio.gather(*(service.ready() for service in services))


def _watch(stack: LocalStack, services: Sequence[ServiceProcess]) -> ProcessSampler:
    sampler = ProcessSampler(role_pids(stack, [service.child for service in services]))
    sampler.start()
    return sampler


async def _play(stack: LocalStack, case: AlignmentCase) -> dict[str, Any]:
    told = stack.folder / f"{case.job.prefix}.json"
    child = Child(f"{case.job.prefix}-player", stack.folder)
    speed = 1 if case.live else AT_ONCE
    here = [stack.bootstrap_servers, case.job.prefix, str(speed), str(case.load.seconds), str(told)]
    child.start([sys.executable, "-m", "benchmarks.generator", "streams", *here])
    try:
        code = await child.ended()
    finally:
        child.kill()
    if code != 0:
        raise RunFailed(f"the player ended with code {code}:\n{child.last_words()}")
    found: dict[str, Any] = json.loads(told.read_text())
    return found


async def _judged(stack: LocalStack, settings: Settings) -> CheckedRun:
    """The windows as judged, with the append times of their predictions instead of their own."""
    topics, count = settings.topic_names(), settings.topics.partitions
    judged = await check_windows(stack.bootstrap_servers, topics, count, settings.semantics(), is_braid=True)
    closed: dict[str, float] = {}
    answers: dict[str, set[str]] = defaultdict(set)
    at_ms: dict[str, int] = {}
    async with clients.reader(stack.bootstrap_servers) as reader:
        for number in range(count):
            async for r in read_range(reader, TopicPartition(topics.windows, number)):
                window = loads_object(r.value or b"")
                if window["final"]:
                    closed[window["id"]] = window["closed_us"] / 1000
            async for r in read_range(reader, TopicPartition(topics.predictions, number)):
                prediction = loads_object(r.value or b"")
                if prediction["final"]:
                    window_id = prediction["id"].rsplit("@", 1)[0]
                    answers[window_id].add(prediction["id"])
                    at_ms.setdefault(window_id, r.timestamp)
    judged.windows = [(at_ms[id], closed[id]) for id in closed.keys() & at_ms.keys()]
    judged.missing += len(closed.keys() - answers.keys())
    judged.wrong += len(answers.keys() - closed.keys()) + sum(len(ids) > 1 for ids in answers.values())
    return judged
