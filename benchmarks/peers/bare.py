"""No framework: one aiokafka consumer in a loop, the join written by hand, a Redis pipeline and a producer."""

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
    """Run until SIGTERM."""
    settings, stop = read_settings(), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    consumer = AIOKafkaConsumer(
        *(settings.media(m) for m in MODALITIES),
        bootstrap_servers=settings.servers,
        group_id=settings.group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        partition_assignment_strategy=(RangePartitionAssignor,),
        fetch_max_wait_ms=50,
        fetch_max_bytes=16 * 1024 * 1024,
        max_partition_fetch_bytes=4 * 1024 * 1024,
    )
    producer = AIOKafkaProducer(bootstrap_servers=settings.servers, acks="all", enable_idempotence=True, linger_ms=2)
    redis, join = Redis.from_url(settings.redis_url), WindowJoin(settings.size_us, settings.hop_us)
    modality_of = {settings.media(m): m for m in MODALITIES}
    gc.set_threshold(50_000, 20, 100)
    await consumer.start()
    await producer.start()
    last_commit_s = time.monotonic()
    while not stop.is_set():
        fetched = await consumer.getmany(timeout_ms=100, max_records=2_000)
        chunks, in_flight, windows = [], [], []
        for tp, records in fetched.items():
            modality = modality_of[tp.topic]
            for r in records:
                chunk = (
                    parse_record(modality, r.partition, r.offset, r.key, r.headers, r.value)
                    if r.key is not None
                    else None
                )
                if chunk is not None:
                    chunks.append((chunk, r.value))
                    windows += join.add(chunk)
        if chunks:
            pipeline = redis.pipeline(transaction=False)
            queue_payloads(pipeline, chunks, settings.ttl_s)
            await pipeline.execute()
        for window in windows:
            in_flight.append(
                await producer.send(settings.windows, encode_window(window), key=window["session"].encode())
            )
        if in_flight:
            await asyncio.gather(*in_flight)
        if time.monotonic() - last_commit_s > COMMIT_EVERY_S:
            await consumer.commit()
            last_commit_s = time.monotonic()
    await producer.stop()
    await consumer.stop()
    await redis.aclose()


if __name__ == "__main__":
    asyncio.run(main())
