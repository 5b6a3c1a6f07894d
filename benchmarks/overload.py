"""Measure a fusion worker under overload: twice the load that its device can process, then half of it.

`python -m benchmarks.overload [--seconds 30] [--json] [--write]`. The worker is a real process with a stub for the device,
on a real broker and Redis. Windows are prepared: payloads go to Redis, window records to their topic. Latency is measured
by the broker's clock alone, from the append time of a window to that of its prediction.
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
from services.contract.window import Member, Window, WindowMembers
from services.kafka import clients, topic_admin
from services.kafka.log_reader import read_range
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import load
from services.storage.payload_cache import CacheEntry, PayloadCache

HOP_US, STEP_MS = 500_000, 250
EPOCH_US = 1_700_000_000_000_000
PCM = "audio/pcm;rate=8000"
RATE = 8_000
PARTITIONS = 4


def schedule_windows(case: OverloadCase, seconds: float) -> Iterator[tuple[float, str, int, bool]]:
    """Yield the time (s), session, number and finality of each window.

    Each session has two windows per second; with early predictions, the early window comes 0.7 s before the final one.
    """
    rng = random.Random(7)
    final_rate = case.capacity * (1 if case.early else 2)
    for name, rate, begin, length in (
        ("busy", final_rate, 0.0, seconds),
        ("calm", final_rate / 4, seconds, float(CALM_S)),
    ):
        for n in range(max(round(rate * HOP_US / 1e6), 1)):
            phase_s = rng.random() * HOP_US / 1e6
            for number in range(int(length * 1e6 / HOP_US)):
                at_s = begin + number * HOP_US / 1e6 + phase_s
                if case.early:
                    yield max(at_s - 0.7, 0), f"{name} {n}", number, False
                yield at_s, f"{name} {n}", number, True


def build_window(session: str, partition: int, number: int, final: bool) -> tuple[Window, list[CacheEntry]]:
    """Return a window with a sentence and a piece of audio of its own, and the two payloads.

    All members are in the session's partition: a worker rejects others.
    """
    start_us = EPOCH_US + number * HOP_US
    audio = random.Random(f"{session} {number}").randbytes(RATE)
    position = partition, int.from_bytes(hashlib.sha256(f"{session} {number}".encode()).digest()[:6])
    chunk = Member("/mic", str(number), start_us, HOP_US, hashlib.sha256(audio).hexdigest(), *position)
    lanes = {
        "text": WindowMembers("present", "data", start_us, (Member("/t", "1", start_us, 0, TEXT_SHA, partition, 0),)),
        "video": WindowMembers("absent", "tick", start_us, ()),
        "audio": WindowMembers("present", "data", start_us, (chunk,)),
    }
    previous_us = start_us - HOP_US if number else None
    built = Window(session, start_us, start_us + 4 * HOP_US, previous_us, final, "bench", lanes, 0, 0)
    sentence = CacheEntry(session, "text", start_us, partition, 0, "text/plain", TEXT)
    return built, [CacheEntry(session, "audio", start_us, *position, PCM, audio), sentence]


TEXT = b"turn on the kettle"
TEXT_SHA = hashlib.sha256(TEXT).hexdigest()


async def feed_windows(stack: LocalStack, prefix: str, plan: list[tuple[float, str, int, bool]]) -> None:
    """Send every window when it is due, at whatever pace the worker goes (open loop)."""
    payloads = PayloadCache(stack.redis_url, 120, 2_000)
    loop, topic = asyncio.get_running_loop(), f"{prefix}.windows.v1"
    async with clients.producer(stack.settings().kafka) as producer:
        began = loop.time() + 0.5
        in_flight: list[Any] = []
        sent = 0
        while sent < len(plan):
            due = [entry for entry in plan[sent : sent + 200] if began + entry[0] <= loop.time() + 0.01]
            if not due:
                await asyncio.sleep(0.005)
                continue
            sent += len(due)
            keys = [session.encode() for _, session, _, _ in due]
            partitions = [partition_of(key, PARTITIONS) for key in keys]
            windows = [
                build_window(session, partition, number, final)
                for (_, session, number, final), partition in zip(due, partitions, strict=True)
            ]
            await payloads.put([payload for _, stored in windows for payload in stored])
            for key, partition, (built, _) in zip(keys, partitions, windows, strict=True):
                value = window_record.encode(built)
                in_flight.append(await producer.send(topic, value, key=key, partition=partition))
        await asyncio.gather(*in_flight)
    await payloads.close()


async def read_topic(servers: str, topic: str) -> list[ConsumerRecord]:
    """Read every record of a topic."""
    async with clients.reader(servers) as reader:
        return [r for n in range(PARTITIONS) async for r in read_range(reader, TopicPartition(topic, n))]


async def make_worker(stack: LocalStack, case: OverloadCase, prefix: str) -> ServiceProcess:
    """Create the topics and, without starting it, the worker of a case."""
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
        await topic_admin.create_missing_topics(admin, settings.model_copy(update={"topics": topics}))
    folder = stack.folder / prefix
    folder.mkdir(exist_ok=True)
    return ServiceProcess("fusion", folder, environment, module="benchmarks.stub_model")


async def measure(stack: LocalStack, case: OverloadCase, number: int, seconds: float) -> dict[str, Any]:
    """Run a case and judge it."""
    prefix = f"overload{number}"
    worker = await make_worker(stack, case, prefix)
    worker.start()
    await worker.wait_until_ready()
    plan = sorted(schedule_windows(case, seconds))
    await feed_windows(stack, prefix, plan)
    finals = sum(final for *_, final in plan)
    deadline = asyncio.get_running_loop().time() + 4 * seconds + 60
    while worker.read_metric("braid_consumer_lag_records") or worker.read_metric("braid_predictions_total") < finals:
        if asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(0.2)
    counters = {name: worker.read_metric(f"braid_{name}_total") for name in ("deadline_missed", "early_dropped")}
    code = await worker.child.stop()
    windows, predictions = [
        [(record.timestamp, json.loads(record.value)) for record in await read_topic(stack.bootstrap_servers, topic)]
        for topic in (f"{prefix}.windows.v1", f"{prefix}.predictions.v1")
    ]
    return judge_run(case, seconds, windows, predictions) | counters | {"exit code": code}


async def main(seconds: float, as_json: bool, write: bool) -> int:
    """Run all cases one after the other; return the exit code."""
    rows: list[dict[str, Any]] = []
    load_before = os.getloadavg()[0]
    for number, case in enumerate(CASES, 1):
        print(f"· {case.name}", file=sys.stderr, flush=True)
        # Each case has its own Redis: a Redis still full of the last case evicts payloads that no topic holds here.
        with tempfile.TemporaryDirectory() as folder:
            async with LocalStack(Path(folder), load()) as stack:
                row = await measure(stack, case, number, seconds)
        rows.append(row | {"failures": list_failures(case, row, seconds)})
        if not as_json:
            print(json.dumps(rows[-1], indent=1), flush=True)
    if as_json:
        print(json.dumps(rows))
    if write:
        (RESULTS / "overload.md").write_text(render_page(rows, seconds, load_before))
    return 1 if any(row["failures"] for row in rows) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="how long the overload lasts")
    parser.add_argument("--json", action="store_true", help="one JSON array and nothing else on stdout")
    parser.add_argument("--write", action="store_true", help="write docs/results/overload.md")
    options = parser.parse_args()
    sys.exit(asyncio.run(main(options.seconds, options.json, options.write)))
