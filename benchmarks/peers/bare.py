"""The floor: one aiokafka consumer in a loop, the join by hand, a Redis pipeline and a producer. No framework."""

from __future__ import annotations

import asyncio
import gc
import signal
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from redis.asyncio import Redis

from benchmarks.peers.job import MODALITIES, WindowJoin, encode_window, parse_record, queue_payloads, read_settings

COMMIT_EVERY_S = 0.5


async def main() -> None:
    at, stop = read_settings(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    consumer = AIOKafkaConsumer(
        *(at.media(m) for m in MODALITIES),
        bootstrap_servers=at.servers,
        group_id=at.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        partition_assignment_strategy=(RangePartitionAssignor,),
        fetch_max_wait_ms=50,
        fetch_max_bytes=16 * 1024 * 1024,
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    producer = AIOKafkaProducer(bootstrap_servers=at.servers, acks="all", enable_idempotence=True, linger_ms=2)
    redis, join = Redis.from_url(at.redis_url), WindowJoin(at.size_us, at.hop_us)
    modality_of = {at.media(m): m for m in MODALITIES}
    gc.set_threshold(50_000, 20, 100)
    await consumer.start()
    await producer.start()
    committed_s = time.monotonic()
    while not stop.is_set():
        fetched = await consumer.getmany(timeout_ms=100, max_records=2_000)
        kept, waiting, windows = [], [], []
        for tp, records in fetched.items():
            modality = modality_of[tp.topic]
            for r in records:
                item = (
                    parse_record(modality, r.partition, r.offset, r.key, r.headers, r.value)
                    if r.key is not None
                    else None
                )
                if item is not None:
                    kept.append((item, r.value))
                    windows += join.add(item)
        if kept:
            pipeline = redis.pipeline(transaction=False)
            queue_payloads(pipeline, kept, at.ttl_s)
            await pipeline.execute()
        for window in windows:
            waiting.append(await producer.send(at.windows, encode_window(window), key=window["session"].encode()))
        if waiting:
            await asyncio.gather(*waiting)
        if time.monotonic() - committed_s > COMMIT_EVERY_S:
            await consumer.commit()
            committed_s = time.monotonic()
    await producer.stop()
    await consumer.stop()
    await redis.aclose()


if __name__ == "__main__":
    asyncio.run(main())
