"""A process that sends records to the media topics, at their pace or as fast as the broker accepts them.

`python -m benchmarks.generator load SERVERS PREFIX PARTITIONS LOAD REPORT` sends a generated load (LOAD is JSON);
`python -m benchmarks.generator streams SERVERS PREFIX SPEED SECONDS REPORT` plays the shipped streams: speed 1 is live,
any other sends them at once, with event times that end now. REPORT is the JSON file to write.

Event times follow the schedule, not the sending, so a delayed generator does not make latencies look better.
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

from benchmarks.device_load import DeviceLoad, ScheduledRecord, schedule_records
from services.contract.topics import Topics
from services.kafka import clients
from services.offline.evaluation.dataset import read_stream
from services.offline.evaluation.kafka_player import PlaybackSchedule, play_streams

BATCH_BYTES = 1_000_000
BATCHES_IN_FLIGHT_MAX = 400
DATA = Path(__file__).parents[1] / "data"
STREAM_NAMES = tuple(f"S{n:02}" for n in range(1, 9))


async def send_load(servers: str, topics: Topics, partition_count: int, load: DeviceLoad, live: bool) -> dict[str, Any]:
    """Send a load.

    Returns:
        The numbers of records and bytes, begin and end (ms since the epoch), and the largest delay against the schedule.
    """
    producer = AIOKafkaProducer(bootstrap_servers=servers, acks="all", max_batch_size=BATCH_BYTES, linger_ms=0)
    await producer.start()
    begin_ms = int(time.time() * 1000) + 300
    epoch_ms = begin_ms if live else int(begin_ms - load.seconds * 1000 - 6_000)
    epoch_ms -= epoch_ms % 1000
    in_flight: set[asyncio.Future[Any]] = set()
    record_count = byte_count = behind_ms = 0
    for slot, records in enumerate(schedule_records(load, epoch_ms, partition_count)):
        if live:
            wait_ms = epoch_ms + slot * 10 + 10 - time.time() * 1000
            behind_ms = max(behind_ms, int(-wait_ms) if slot > 100 else 0)
            if wait_ms > 0:
                await asyncio.sleep(wait_ms / 1000)
        for (modality, partition), batch, batch_bytes in batches(producer, records):
            in_flight.add(await producer.send_batch(batch, topics.media(modality), partition=partition))
            byte_count += batch_bytes
        record_count += len(records)
        if len(in_flight) > BATCHES_IN_FLIGHT_MAX:
            _, in_flight = await asyncio.wait(in_flight, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.gather(*in_flight)
    await producer.stop()
    end_ms = int(time.time() * 1000)
    return {
        "records": record_count,
        "bytes": byte_count,
        "begin_ms": begin_ms,
        "end_ms": end_ms,
        "behind_ms": behind_ms,
    }


def batches(
    producer: AIOKafkaProducer, records: Sequence[ScheduledRecord]
) -> Iterator[tuple[tuple[str, int], Any, int]]:
    """Group records into producer batches: sending them one by one costs the producer ten times as much CPU."""
    groups: dict[tuple[str, int], list[ScheduledRecord]] = {}
    for record in records:
        groups.setdefault((record.modality, record.partition), []).append(record)
    for log, group in groups.items():
        batch, batch_bytes = producer.create_batch(), 0
        for record in group:
            if not _append(batch, record):
                yield log, batch, batch_bytes
                batch, batch_bytes = producer.create_batch(), 0
                _append(batch, record)
            batch_bytes += len(record.value)
        yield log, batch, batch_bytes


def _append(batch: Any, record: ScheduledRecord) -> bool:
    appended = batch.append(key=record.key, value=record.value, headers=list(record.headers), timestamp=None)
    return appended is not None


async def send_streams(servers: str, prefix: str, speed: float, seconds: float) -> dict[str, Any]:
    """Play the shipped streams; report the same fields as `send_load`."""
    recordings = {name: read_stream(DATA, name) for name in STREAM_NAMES}
    async with clients.producer(servers) as producer:
        now_us = time.time_ns() // 1000
        schedule = PlaybackSchedule(now_us + 500_000, 0, int(seconds * 1e6), speed)
        played = await play_streams(producer, Topics(prefix), recordings, schedule, now_us)
    return {"records": played.chunks_sent, "bytes": 0, "begin_ms": (now_us + 500_000) // 1000, "behind_ms": 0}


def main() -> None:
    """Send what the arguments say, and write the report."""
    kind, servers, prefix, third, fourth, report_path = sys.argv[1:]
    if kind == "load":
        fields = json.loads(fourth)
        live = fields.pop("live")
        report = asyncio.run(send_load(servers, Topics(prefix), int(third), DeviceLoad(**fields), live))
    else:
        report = asyncio.run(send_streams(servers, prefix, float(third), float(fourth)))
    Path(report_path).write_text(json.dumps(report))


if __name__ == "__main__":
    main()
