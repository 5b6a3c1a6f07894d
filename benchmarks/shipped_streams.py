"""Classes B and C: the shipped streams predicted by the shipped model, end to end or from prepared windows."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition

from benchmarks.alignment_run import AlignmentCase, build_row, job_settings, role_pids, wait_until_quiet
from benchmarks.device_load import DeviceLoad
from benchmarks.generator import STREAM_NAMES
from benchmarks.peer_environments import package_versions
from benchmarks.process_sampler import ProcessSampler
from benchmarks.results import BenchmarkRow
from benchmarks.systems import BenchmarkJob, braid_environment
from benchmarks.whole_system import run_for_report
from benchmarks.window_check import CheckedRun, check_windows
from services.contract.canonical import loads_object
from services.kafka import clients, topic_admin
from services.kafka.log_reader import read_range
from services.local.process import ChildProcess
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings

STREAM_S = 119.0
LIVE_S = 45.0
AT_ONCE = 1e6
PARTITIONS = 8
STUB_CASE = "B: prepared windows, the stub device"
STUB_ENVIRONMENT = {"STUB_FIXED_MS": "0.30", "STUB_EACH_MS": "0.031", "STUB_BATCH": "8"}
PAYLOAD_TTL_S = 900  # prepared windows wait until a worker has started


@dataclass(frozen=True, slots=True)
class StreamsCase:
    """One case of the shipped streams.

    Attributes:
        name: The name in the results.
        live: Play at 1x instead of all at once.
        prepared: Align first, and measure only the fusion workers.
        workers: How many fusion workers run.
        stub: The workers serve a stub that waits instead of the model.
    """

    name: str
    live: bool = False
    prepared: bool = False
    workers: int = 1
    stub: bool = False

    def alignment_case(self, prefix: str) -> AlignmentCase:
        """Return the load and the job of this case."""
        seconds = LIVE_S if self.live else STREAM_S
        job = BenchmarkJob(prefix, PARTITIONS, workers=self.workers, early=self.live)
        return AlignmentCase(self.name, DeviceLoad(len(STREAM_NAMES), seconds), self.live, job)


async def run_streams(stack: LocalStack, streams: StreamsCase) -> BenchmarkRow:
    """Run a case; check every window against the oracle, and that each final window has exactly one prediction.

    Raises:
        RunFailed: A process ends, or the predictions do not end in time.
        StartError: A service does not start.
    """
    case = streams.alignment_case(f"bench-{secrets.token_hex(4)}")
    settings = job_settings(stack, case.job)
    async with clients.admin(stack.bootstrap_servers) as admin:
        await topic_admin.create_missing_topics(admin, settings)
    environment = braid_environment(stack, case.job) | {"BRAID_REDIS__TTL_S": str(PAYLOAD_TTL_S)}
    aligner = ServiceProcess("aligner", stack.folder, environment)
    environment |= STUB_ENVIRONMENT if streams.stub else {}
    module = "benchmarks.stub_model" if streams.stub else None
    workers = [
        ServiceProcess("fusion", stack.folder, environment, n, module=module) for n in range(1, streams.workers + 1)
    ]
    measured = [*([] if streams.prepared else [aligner]), *workers]
    try:
        if streams.live:
            await _start([aligner, *workers])
            sampler = _start_sampler(stack, measured)
        report = await _play(stack, case)
        if streams.prepared:
            await _start([aligner])
            await wait_until_quiet(stack, settings, [aligner.child])
            await aligner.child.stop()
        if not streams.live:
            for service in measured:
                service.start()
            sampler = _start_sampler(stack, measured)
        children = [service.child for service in measured]
        await wait_until_quiet(stack, settings, children, settings.topic_names().predictions)
        sampler.stop()
    finally:
        await asyncio.gather(*(service.child.stop(10) for service in (aligner, *workers)))
    checked = await _check_predictions(stack, settings)
    versions = package_versions(sys.executable, ("braid", "torch", "aiokafka"))
    return build_row("braid", versions, case, report, checked, sampler)


async def _start(services: Sequence[ServiceProcess]) -> None:
    for service in services:
        service.start()
    await asyncio.gather(*(service.wait_until_ready() for service in services))


def _start_sampler(stack: LocalStack, services: Sequence[ServiceProcess]) -> ProcessSampler:
    sampler = ProcessSampler(role_pids(stack, [service.child for service in services]))
    sampler.start()
    return sampler


async def _play(stack: LocalStack, case: AlignmentCase) -> dict[str, Any]:
    child = ChildProcess(f"{case.job.prefix}-player", stack.folder)
    speed = 1 if case.live else AT_ONCE
    arguments = ["streams", stack.bootstrap_servers, case.job.prefix, str(speed), str(case.load.seconds)]
    return await run_for_report(child, "benchmarks.generator", arguments)


async def _check_predictions(stack: LocalStack, settings: Settings) -> CheckedRun:
    """Check the windows and their predictions; the append times returned are those of the predictions."""
    topics, count = settings.topic_names(), settings.topics.partitions
    checked = await check_windows(stack.bootstrap_servers, topics, count, settings.alignment_config(), is_braid=True)
    closed_ms: dict[str, float] = {}
    predictions: dict[str, set[str]] = defaultdict(set)
    appended_ms: dict[str, int] = {}
    async with clients.reader(stack.bootstrap_servers) as reader:
        for number in range(count):
            async for r in read_range(reader, TopicPartition(topics.windows, number)):
                window = loads_object(r.value or b"")
                if window["final"]:
                    closed_ms[window["id"]] = window["closed_us"] / 1000
            async for r in read_range(reader, TopicPartition(topics.predictions, number)):
                prediction = loads_object(r.value or b"")
                if prediction["final"]:
                    window_id = prediction["id"].rsplit("@", 1)[0]
                    predictions[window_id].add(prediction["id"])
                    appended_ms.setdefault(window_id, r.timestamp)
    checked.windows = [(appended_ms[id], closed_ms[id]) for id in closed_ms.keys() & appended_ms.keys()]
    checked.missing += len(closed_ms.keys() - predictions.keys())
    checked.wrong += len(predictions.keys() - closed_ms.keys()) + sum(len(ids) > 1 for ids in predictions.values())
    return checked
