"""Overload, for real: twice what the device can do, then half of it, through broker, Redis and a fusion worker process.

`python -m benchmarks.overload [--seconds 30] [--json] [--write]`. The device is the stub. Windows are prepared: payloads go to
Redis, window records to the windows topic, and how long each waited is told by the broker's clock alone, from the append
time of the window to that of its prediction.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aiokafka.structs import ConsumerRecord, TopicPartition

from benchmarks.overload_verdict import CALM_S, CASES, SIZE, OverloadCase, judge_run, list_failures, render_page
from benchmarks.results import RESULTS
from services.contract import window as window_record
from services.contract.partitioner import partition_of
from services.contract.window import Lane, Member, Window
from services.kafka import clients, topic_admin
from services.kafka.log_reader import read_range
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import load
from services.storage.payload_cache import RedisWindow, Stored

HOP_US, STEP_MS = 500_000, 250
EPOCH_US = 1_700_000_000_000_000
PCM = "audio/pcm;rate=8000"
RATE = 8_000
PARTITIONS = 4


def schedule_windows(case: OverloadCase, seconds: float) -> Iterator[tuple[float, str, int, bool]]:
    """When (s) which window of which session comes: two a second for each session, its early answer 0.7 s before it."""
    drawn = random.Random(7)
    finals = case.capacity * (1 if case.early else 2)
    for name, rate, begin, length in (("busy", finals, 0.0, seconds), ("calm", finals / 4, seconds, float(CALM_S))):
        for n in range(max(round(rate * HOP_US / 1e6), 1)):
            phase = drawn.random() * HOP_US / 1e6
            for number in range(int(length * 1e6 / HOP_US)):
                at = begin + number * HOP_US / 1e6 + phase
                if case.early:
                    yield max(at - 0.7, 0), f"{name} {n}", number, False
                yield at, f"{name} {n}", number, True


def build_window(session: str, where: int, number: int, final: bool) -> tuple[Window, list[Stored]]:
    """A window with a sentence and one piece of sound that stands in no other window, and both of them.

    where: the session's partition number, in which its media stand, as any worker demands.
    """
    start_us = EPOCH_US + number * HOP_US
    body = random.Random(f"{session} {number}").randbytes(RATE)
    at = where, int.from_bytes(hashlib.sha256(f"{session} {number}".encode()).digest()[:6])
    sound = Member("/mic", str(number), start_us, HOP_US, hashlib.sha256(body).hexdigest(), *at)
    lanes = {
        "text": Lane("present", "data", start_us, (Member("/t", "1", start_us, 0, TEXT_SHA, where, 0),)),
        "video": Lane("absent", "tick", start_us, ()),
        "audio": Lane("present", "data", start_us, (sound,)),
    }
    previous_us = start_us - HOP_US if number else None
    made = Window(session, start_us, start_us + 4 * HOP_US, previous_us, final, "bench", lanes, 0, 0)
    sentence = Stored(session, "text", start_us, where, 0, "text/plain", TEXT)
    return made, [Stored(session, "audio", start_us, *at, PCM, body), sentence]


TEXT = b"turn on the kettle"
TEXT_SHA = hashlib.sha256(TEXT).hexdigest()


async def feed_windows(stack: LocalStack, prefix: str, plan: list[tuple[float, str, int, bool]]) -> None:
    """Send everything when it is time to, whatever the worker does (open loop)."""
    payloads = RedisWindow(stack.redis_url, 120, 2_000)
    loop, topic = asyncio.get_running_loop(), f"{prefix}.windows.v1"
    async with clients.producer(stack.bootstrap_servers) as producer:
        began = loop.time() + 0.5
        waiting: list[Any] = []
        at = 0
        while at < len(plan):
            due = [p for p in plan[at : at + 200] if began + p[0] <= loop.time() + 0.01]
            if not due:
                await asyncio.sleep(0.005)
                continue
            at += len(due)
            keys = [session.encode() for _, session, _, _ in due]
            places = [partition_of(key, PARTITIONS) for key in keys]
            made = [build_window(session, at, n, final) for (_, session, n, final), at in zip(due, places, strict=True)]
            await payloads.put([one for _, stored in made for one in stored])
            for key, where, (w, _) in zip(keys, places, made, strict=True):
                waiting.append(await producer.send(topic, window_record.encode(w), key=key, partition=where))
        await asyncio.gather(*waiting)
    await payloads.close()


async def read_topic(servers: str, topic: str) -> list[ConsumerRecord]:
    """Every record of a topic."""
    async with clients.reader(servers) as reader:
        return [r for n in range(PARTITIONS) async for r in read_range(reader, TopicPartition(topic, n))]


async def make_worker(stack: LocalStack, case: OverloadCase, prefix: str) -> ServiceProcess:
    """The worker of a case, not started, with topics of its own."""
    environment = {
        **stack.environment(),
        "BRAID_TOPICS__PREFIX": prefix,
        "BRAID_TOPICS__PARTITIONS": str(PARTITIONS),
        "BRAID_KAFKA__GROUP_PREFIX": prefix,
        "BRAID_FUSION__LEVEL_MAX": str(case.level_max),
        "BRAID_FUSION__OVERLOAD_MS": str(STEP_MS),
        "STUB_FIXED_MS": str(case.timing.fixed_ms),
        "STUB_EACH_MS": str(case.timing.each_ms),
        "STUB_AUDIO_MS": str(case.timing.item_ms.get("audio", 0.0)),
        "STUB_BATCH": str(SIZE),
    }
    settings = stack.settings()
    topics = settings.topics.model_copy(update={"prefix": prefix, "partitions": PARTITIONS})
    async with clients.admin(stack.bootstrap_servers) as admin:
        await topic_admin.apply(admin, settings.model_copy(update={"topics": topics}))
    folder = stack.folder / prefix
    folder.mkdir(exist_ok=True)
    return ServiceProcess("fusion", folder, environment, module="benchmarks.stub_model")


async def measure(stack: LocalStack, case: OverloadCase, number: int, seconds: float) -> dict[str, Any]:
    """Run a case; what came of it."""
    prefix = f"overload{number}"
    worker = await make_worker(stack, case, prefix)
    worker.start()
    await worker.ready()
    plan = sorted(schedule_windows(case, seconds))
    await feed_windows(stack, prefix, plan)
    finals = sum(final for *_, final in plan)
    deadline = asyncio.get_running_loop().time() + 4 * seconds + 60
    while worker.metric("braid_consumer_lag_records") or worker.metric("braid_predictions_total") < finals:
        if asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(0.2)
    told = {name: worker.metric(f"braid_{name}_total") for name in ("deadline_missed", "early_dropped")}
    code = await worker.child.stop()
    sent, said = [
        [(record.timestamp, json.loads(record.value)) for record in await read_topic(stack.bootstrap_servers, topic)]
        for topic in (f"{prefix}.windows.v1", f"{prefix}.predictions.v1")
    ]
    return judge_run(case, seconds, sent, said) | told | {"exit code": code}


async def main(seconds: float, as_json: bool, write: bool) -> int:
    """All cases, one after the other."""
    out: list[dict[str, Any]] = []
    load_then = os.getloadavg()[0]
    for number, case in enumerate(CASES, 1):
        print(f"· {case.name}", file=sys.stderr, flush=True)
        # A Redis of its own: one that is full of the case before gives up payloads that no log holds here.
        with tempfile.TemporaryDirectory() as folder:
            async with LocalStack(Path(folder), load()) as stack:
                row = await measure(stack, case, number, seconds)
        out.append(row | {"failures": list_failures(case, row, seconds)})
        if not as_json:
            print(json.dumps(out[-1], indent=1), flush=True)
    if as_json:
        print(json.dumps(out))
    if write:
        (RESULTS / "overload.md").write_text(render_page(out, seconds, load_then))
    return 1 if any(row["failures"] for row in out) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="how long the overload lasts")
    parser.add_argument("--json", action="store_true", help="one JSON array and nothing else on stdout")
    parser.add_argument("--write", action="store_true", help="write docs/results/overload.md")
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.seconds, given.json, given.write)))
