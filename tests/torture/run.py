"""A whole run: real broker, Redis, services and sender; the plan of faults; then the verdict."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from model.checkpoint import load as load_model
from services.fusion.inference import Inference
from services.inspection.audit.collect import collect_logs, collect_topic
from services.kafka import clients, topic_admin
from services.local.process import Child
from services.local.stack import LocalStack
from services.runtime.settings import Settings, load
from tests.torture.commits import OFFSETS_TOPIC, Commit, read_commit
from tests.torture.faults import Faults
from tests.torture.flight import Flight, measured
from tests.torture.plan import Fault, plan
from tests.torture.supervisor import FIRST, FUSION, Supervisor
from tests.torture.verdict import Evidence, Verdict, judge

PARTITIONS = 4
# An idle session holds the floor until an aligner has lived this long: with an owner every few seconds and the default
# of three nothing would be committed, and every restart would begin where the first did.
SESSION_IDLE_MS = 500
OFFSETS_PARTITIONS = 4  # as the local broker is set up
FLUSHED_WITHIN_S = 180.0
# A floor may stand still for as long as a replay lasts, and reach the end at once: an idle session holds it until then.
STANDS_STILL_S = 240.0
CACHE_BYTES = 512 * 1024 * 1024
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was planned and landed, how the services ended, and the verdict."""

    planned: Counter[str]
    landed: Counter[str]
    in_flight: Counter[str]
    ended: Counter[str]
    exit_codes: dict[str, int | None]
    verdict: Verdict


async def run(seed: int, seconds: float, folder: Path, say: Say) -> Outcome:
    """Torture a stack of our own in this folder. Raises StartError, KafkaError."""
    # Whatever broker the settings name: it is not ours to kill.
    own = load(
        kafka={"bootstrap_servers": "", "group_prefix": "torture"},
        redis={"url": ""},
        topics={"prefix": "torture", "partitions": PARTITIONS},
        alignment={"session_idle_ms": SESSION_IDLE_MS},
    )
    async with LocalStack(folder, own) as stack:
        settings = stack.settings()
        async with clients.admin(stack.bootstrap_servers) as admin:
            await topic_admin.create_missing_topics(admin, settings)
        supervisor = Supervisor(stack, settings)
        async with _watched(supervisor):
            faults, acknowledged, planned = await _tortured(seed, seconds, stack, settings, supervisor, say)
            say("the sender has ended: waiting until every window is out and answered")
            flight = await _settled(settings)
            exit_codes = await supervisor.stop()
        say("reading all topics again")
        evidence = await _evidence(settings, acknowledged)
        inference = Inference(load_model(settings.fusion.model, settings.fusion.device), CACHE_BYTES)
        verdict = await asyncio.to_thread(judge, evidence, settings, inference)
    if flight != Flight(0, 0):
        verdict.troubles.append(f"for {STANDS_STILL_S} s the logs were not worked off further: {flight}")
    for name, code in exit_codes.items():
        if code != 0:
            verdict.troubles.append(f"the {name} ended with exit code {code}")
    return Outcome(
        Counter(fault.kind for fault in planned), faults.landed, faults.in_flight, supervisor.ended, exit_codes, verdict
    )


@asynccontextmanager
async def _watched(supervisor: Supervisor) -> AsyncIterator[None]:
    for name in (FIRST, FUSION):
        supervisor.start(name)
    await asyncio.gather(*(supervisor.processes[name].ready() for name in (FIRST, FUSION)))
    watching = asyncio.create_task(supervisor.watch())
    try:
        yield
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        for process in supervisor.processes.values():
            process.child.kill()


async def _tortured(
    seed: int, seconds: float, stack: LocalStack, settings: Settings, supervisor: Supervisor, say: Say
) -> tuple[Faults, int, list[Fault]]:
    assert stack.broker is not None
    assert stack.redis is not None
    planned = plan(seed, seconds)
    told, sender = stack.folder / "sent.json", Child("sender", stack.folder)
    here = [stack.bootstrap_servers, settings.topics.prefix, str(settings.topics.partitions), str(seed), str(told)]
    sender.start([sys.executable, "-m", "tests.torture.sender", *here])
    faults = Faults(settings, supervisor, stack.broker, stack.redis, say, asyncio.get_running_loop().time())
    try:
        say(f"seed {seed}: {len(planned)} faults in {seconds:.0f} s")
        running = asyncio.create_task(faults.run(planned))
        whole = asyncio.create_task(asyncio.sleep(seconds))
        await asyncio.gather(running, whole)
        code = await sender.stop(FLUSHED_WITHIN_S)
    finally:
        sender.kill()
    if code != 0:
        raise RuntimeError(f"the sender ended with exit code {code}:\n{sender.last_words()}")
    return faults, json.loads(told.read_text())["acknowledged"], planned


async def _settled(settings: Settings) -> Flight | None:
    """Wait until the floors have reached the ends of all logs, as long as they come nearer; what is in flight then."""
    clock = asyncio.get_running_loop().time
    deadline, least = clock() + STANDS_STILL_S, sys.maxsize
    while True:
        flight = await measured(settings, STANDS_STILL_S)
        if flight == Flight(0, 0) or clock() > deadline:
            return flight
        if flight is not None and flight.aligner + flight.fusion < least:
            deadline, least = clock() + STANDS_STILL_S, flight.aligner + flight.fusion
        await asyncio.sleep(0.5)


async def _evidence(settings: Settings, acknowledged: int) -> Evidence:
    topics, count = settings.topic_names(), settings.topics.partitions
    async with clients.reader(settings.kafka.bootstrap_servers) as reader:
        logs = await collect_logs(reader, topics, count)
        predictions = await collect_topic(reader, topics.predictions, count)
        commits = [read_commit(raw) for raw in await collect_topic(reader, OFFSETS_TOPIC, OFFSETS_PARTITIONS)]
    found: list[Commit] = [commit for commit in commits if commit is not None]
    return Evidence(logs, predictions, found, acknowledged)
