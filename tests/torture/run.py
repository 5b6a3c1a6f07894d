"""A torture run: start broker, Redis, services and sender, inject the faults, then judge the logs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aiokafka.errors import KafkaError

from model.checkpoint import load as load_model
from services.fusion.inference import Inference
from services.inspection.audit.collect import collect_logs, collect_partition, collect_topic
from services.kafka import clients, topic_admin
from services.local.process import ChildProcess, StartError
from services.local.services import READY_S, ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings, load
from tests.integration.mosquitto import Mosquitto
from tests.torture.commits import OFFSETS_TOPIC, Commit, read_commit
from tests.torture.faults import FaultInjector
from tests.torture.in_flight import InFlight, count_outputs, wait_for_in_flight
from tests.torture.plan import FULL_DISK, Fault, plan
from tests.torture.small_disk import MountError, SmallDisk, mounted_disk
from tests.torture.supervisor import BRIDGE, FIRST, FUSION, GATEWAY, SECOND, Supervisor
from tests.torture.verdict import Evidence, Verdict, judge

PER_S = 500
PARTITIONS = 4
# An idle session holds back commits until an aligner has run this long. With a new owner every few seconds and the default
# of three seconds nothing would be committed, and every restart would read everything again.
SESSION_IDLE_MS = 500
# A pause must outlast it: a short one makes the pauses of a run short.
SESSION_TIMEOUT_MS = 10_000
# The checks at the end need every record.
RETENTION_MIN = 24 * 60
# A run without space has what it wrote until then: far less than this.
DISK_BYTES, DISK_BYTES_PER_RECORD = 1 << 30, 8 * 1024
OFFSETS_PARTITIONS = 4  # of the local broker
FLUSHED_WITHIN_S = 180.0
# So long nothing may be committed or written at the end.
STANDS_STILL_S = 240.0
# At the end, windows and predictions may be written this many times.
WRITTEN_AGAIN_MAX = 4
CACHE_BYTES = 512 * 1024 * 1024
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The planned and injected faults, the exit codes of the services, and the verdict."""

    planned: Counter[str]
    landed: Counter[str]
    in_flight: Counter[str]
    ended: Counter[str]
    exit_codes: dict[str, int | None]
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What a run does: records a second, for how long, and the faults."""

    seed: int
    seconds: float
    per_s: int
    faults: Sequence[Fault]


async def run(seed: int, seconds: float, per_s: int, density: float, folder: Path, say: Say) -> Outcome:
    """Run in a stack of its own in this folder. Raises StartError, KafkaError."""
    with ExitStack() as mounted:
        size = DISK_BYTES + round(DISK_BYTES_PER_RECORD * per_s * seconds)
        try:
            disk = mounted.enter_context(mounted_disk(folder, size))
        except MountError as error:
            disk = None
            say(f"{FULL_DISK}: not planned, a disk cannot be mounted ({error})")
        faults = plan(seed, seconds, () if disk else (FULL_DISK,), density)
        return await _run(RunPlan(seed, seconds, per_s, faults), folder, disk, say)


async def _run(planned: RunPlan, folder: Path, disk: SmallDisk | None, say: Say) -> Outcome:
    # Never kill the broker that the settings may name.
    own = load(
        kafka={"bootstrap_servers": "", "group_prefix": "torture", "session_timeout_ms": SESSION_TIMEOUT_MS},
        redis={"url": ""},
        topics={"prefix": "torture", "partitions": PARTITIONS, "media_retention_min": RETENTION_MIN},
        alignment={"session_idle_ms": SESSION_IDLE_MS},
    )
    async with LocalStack(disk.folder if disk else folder, own) as stack:
        settings = stack.settings()
        async with clients.admin(stack.bootstrap_servers) as admin:
            await topic_admin.create_missing_topics(admin, settings)
        mosquitto = await Mosquitto(folder).start()
        supervisor = Supervisor(stack, settings, mosquitto.port)
        async with _supervised(supervisor):
            faults, sent = await _inject_faults(planned, stack, settings, supervisor, mosquitto, disk, say)
            say("the sender has stopped: waiting until all windows are published and predicted")
            flight = await _wait_until_settled(settings)
            unready = await _wait_until_ready(supervisor, _grown_topics(faults.grown, settings))
            exit_codes = await supervisor.stop()
        await mosquitto.child.stop()
        say("reading all topics again")
        evidence = await _read_evidence(settings, sent, faults.grown)
        inference = Inference(load_model(settings.fusion.model, settings.fusion.device), CACHE_BYTES)
        verdict = await asyncio.to_thread(judge, evidence, settings, inference)
    if flight != InFlight(0, 0):
        verdict.problems.append(f"nothing was committed or written for {STANDS_STILL_S} s: {flight}")
    verdict.problems += [*unready, *supervisor.limit_problems()]
    for name in supervisor.largest:
        verdict.counts[f"MB, {name}"] = supervisor.largest[name] >> 20
        verdict.counts[f"open files, {name}"] = supervisor.most_files[name]
    for name, code in exit_codes.items():
        if code != 0:
            verdict.problems.append(f"the {name} ended with exit code {code}")
    counted = Counter(fault.kind for fault in planned.faults)
    return Outcome(counted, faults.landed, faults.in_flight, supervisor.ended, exit_codes, verdict)


@asynccontextmanager
async def _supervised(supervisor: Supervisor) -> AsyncIterator[None]:
    names = (FIRST, FUSION, GATEWAY, BRIDGE)
    for name in names:
        supervisor.start(name)
    await asyncio.gather(*(supervisor.processes[name].wait_until_ready() for name in names))
    watching = [asyncio.create_task(supervisor.watch()), asyncio.create_task(supervisor.measure())]
    try:
        yield
    finally:
        for task in watching:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        for process in supervisor.processes.values():
            process.child.kill()


async def _inject_faults(
    planned: RunPlan,
    stack: LocalStack,
    settings: Settings,
    supervisor: Supervisor,
    mosquitto: Mosquitto,
    disk: SmallDisk | None,
    say: Say,
) -> tuple[FaultInjector, dict[str, int]]:
    assert stack.broker is not None
    assert stack.redis is not None
    report, sender = stack.folder / "sent.json", ChildProcess("sender", stack.folder)
    arguments = [
        stack.bootstrap_servers,
        settings.topics.prefix,
        str(settings.topics.partitions),
        str(planned.seed),
        str(planned.per_s),
        str(report),
    ]
    sender.start([sys.executable, "-m", "tests.torture.sender", *arguments])
    begin_s = asyncio.get_running_loop().time()
    faults = FaultInjector(settings, supervisor, stack.broker, stack.redis, mosquitto, disk, say, begin_s)
    try:
        say(
            f"seed {planned.seed}: {len(planned.faults)} faults in {planned.seconds:.0f} s, {planned.per_s} records a second"
        )
        running = asyncio.create_task(faults.run(planned.faults))
        whole = asyncio.create_task(asyncio.sleep(planned.seconds))
        await asyncio.gather(running, whole)
        code = await sender.stop(FLUSHED_WITHIN_S)
    finally:
        sender.kill()
    if code != 0:
        raise RuntimeError(f"the sender ended with exit code {code}:\n{sender.log_tail()}")
    return faults, json.loads(report.read_text())


def _grown_topics(grown: Mapping[str, int], settings: Settings) -> dict[str, list[str]]:
    """Return what /readyz of a service must say about the topics that got more partitions: of those that its group reads."""
    names = settings.topic_names()
    read = {FIRST: names.media_all, SECOND: names.media_all, FUSION: (names.windows,)}
    return {
        name: [f"{topic} has {grown[topic]} partitions" for topic in topics if topic in grown]
        for name, topics in read.items()
    }


async def _wait_until_ready(supervisor: Supervisor, grown: Mapping[str, Sequence[str]]) -> list[str]:
    """Describe each service that runs and does not become ready again, or does not name the topics that have grown."""
    problems = []
    for name in sorted(supervisor.wanted):
        process, expected = supervisor.processes[name], grown.get(name, ())
        try:
            if not expected:
                await process.wait_until_ready()
            elif not await _names_all(process, expected):
                problems.append(f"the {name} is not ready for {process.not_ready()}, and not only for {expected}")
        except StartError as error:
            problems.append(f"the {name} is not ready at the end: {error}")
    return problems


async def _names_all(process: ServiceProcess, expected: Sequence[str]) -> bool:
    """Wait until /readyz gives no other reason than the topics, and names all of these."""
    deadline = asyncio.get_running_loop().time() + READY_S
    while asyncio.get_running_loop().time() < deadline:
        reasons = await asyncio.to_thread(process.not_ready)
        if reasons.keys() == {"topics"} and all(text in reasons["topics"] for text in expected):
            return True
        await asyncio.sleep(0.5)
    return False


async def _wait_until_settled(settings: Settings) -> InFlight | None:
    """Wait until everything is committed, as long as work gets done; return what is still in flight.

    Windows are predicted in turn by session, so a commit may stand still until nearly all are predicted: what the services
    write is work done as well. One that writes the same again and again is not waited for without end.
    """
    clock = asyncio.get_running_loop().time
    deadline, least, written, written_max = clock() + STANDS_STILL_S, sys.maxsize, 0, 0
    while True:
        flight = await wait_for_in_flight(settings, STANDS_STILL_S)
        if flight == InFlight(0, 0) or clock() > deadline:
            return flight
        if flight is not None:
            with suppress(KafkaError, TimeoutError):
                windows, predictions = await count_outputs(settings)
                written_max = written_max or WRITTEN_AGAIN_MAX * (windows + flight.aligner) + predictions
                if flight.aligner + flight.fusion < least or written < windows + predictions < written_max:
                    deadline = clock() + STANDS_STILL_S
                    least, written = min(least, flight.aligner + flight.fusion), windows + predictions
        await asyncio.sleep(0.5)


async def _read_evidence(settings: Settings, sent: dict[str, int], grown: Mapping[str, int]) -> Evidence:
    topics, count = settings.topic_names(), settings.topics.partitions
    async with clients.reader(settings.kafka) as reader:
        logs = await collect_logs(reader, topics, count)
        predictions = await collect_topic(reader, topics.predictions, count)
        added = {
            topic: [
                raw for number in range(count, grown[topic]) for raw in await collect_partition(reader, topic, number)
            ]
            for topic in grown
        }
        commits = [read_commit(raw) for raw in await collect_topic(reader, OFFSETS_TOPIC, OFFSETS_PARTITIONS)]
    found: list[Commit] = [commit for commit in commits if commit is not None]
    return Evidence(logs, predictions, found, added, sent["acknowledged"], sent["forged"], sent["aborted"])
