"""The generator: a process of its own that sends a load, at its pace whatever happens, or as fast as the broker takes it.

`python -m benchmarks.generator SERVERS PREFIX PARTITIONS LOAD TOLD`: load and report are JSON. Event times are those of
the schedule, never of the sending, so a generator that is held up does not make latencies look better.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer

from benchmarks.load import Load, Sending, sendings
from services.contract.topics import Topics

BATCH_BYTES = 1_000_000
WAITING_MAX = 400


async def send(servers: str, topics: Topics, partition_count: int, load: Load, live: bool) -> dict[str, Any]:
    """Send all of it; how many records and bytes, from when to when (ms since the epoch), how far behind at worst."""
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", max_batch_size=BATCH_BYTES, linger_ms=0)
    await producer.start()
    begin_ms = int(time.time() * 1000) + 300
    epoch_ms = begin_ms if live else int(begin_ms - load.seconds * 1000 - 6_000)
    epoch_ms -= epoch_ms % 1000
    waiting: set[asyncio.Future[Any]] = set()
    count = size = behind_ms = 0
    for tick, due in enumerate(sendings(load, epoch_ms, partition_count)):
        if live:
            wait_ms = epoch_ms + tick * 10 + 10 - time.time() * 1000
            behind_ms = max(behind_ms, int(-wait_ms) if tick > 100 else 0)
            if wait_ms > 0:
                await asyncio.sleep(wait_ms / 1000)
        for (modality, partition), batch, size_here in batches(producer, due):
            waiting.add(await producer.send_batch(batch, topics.media(modality), partition=partition))
            size += size_here
        count += len(due)
        if len(waiting) > WAITING_MAX:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(*waiting)
    await producer.stop()
    end_ms = int(time.time() * 1000)
    return {"records": count, "bytes": size, "begin_ms": begin_ms, "end_ms": end_ms, "behind_ms": behind_ms}


def batches(producer: AIOKafkaProducer, due: Sequence[Sending]) -> Iterator[tuple[tuple[str, int], Any, int]]:
    """The records as batches of one log each: one by one they would cost the producer ten times as much."""
    groups: dict[tuple[str, int], list[Sending]] = {}
    for one in due:
        groups.setdefault((one.modality, one.partition), []).append(one)
    for log, group in groups.items():
        batch, size = producer.create_batch(), 0
        for one in group:
            if not _append(batch, one):
                yield log, batch, size
                batch, size = producer.create_batch(), 0
                _append(batch, one)
            size += len(one.value)
        yield log, batch, size


def _append(batch: Any, one: Sending) -> bool:
    return batch.append(key=one.key, value=one.value, headers=list(one.headers), timestamp=None) is not None


def main() -> None:
    servers, prefix, partition_count, told = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[5])
    asked = json.loads(sys.argv[4])
    live = asked.pop("live")
    report = asyncio.run(send(servers, Topics(prefix), partition_count, Load(**asked), live))
    told.write_text(json.dumps(report))


if __name__ == "__main__":
    main()
