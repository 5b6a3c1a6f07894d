"""Stock Faust: an agent per topic, batches by `take_events`, the join written by hand.

Faust has no joins of streams, and its windows use processing time.
"""

from __future__ import annotations

import os
from typing import Any

import faust
from redis.asyncio import Redis

from benchmarks.peers.job import MODALITIES, WindowJoin, encode_window, parse_record, queue_payloads, read_settings

settings = read_settings()
app = faust.App(
    settings.group,
    broker=f"kafka://{settings.servers}",
    datadir=os.environ["BENCH_FOLDER"],
    key_serializer="raw",
    value_serializer="raw",
    topic_disable_leader=True,
    topic_allow_declare=False,
    consumer_auto_offset_reset="earliest",
    broker_commit_interval=0.5,
    producer_linger=0.002,
    broker_max_poll_records=2_000,
    web_enabled=False,
)
join, redis = WindowJoin(settings.size_us, settings.hop_us), Redis.from_url(settings.redis_url)
windows_topic = app.topic(settings.windows, key_serializer="raw", value_serializer="raw")


def add_agent(modality: str) -> None:
    """Add the agent of one modality's topic."""

    async def align(stream: Any) -> None:
        async for events in stream.take_events(1_000, within=0.02):
            chunks, windows = [], []
            for event in events:
                m = event.message
                chunk = parse_record(modality, m.partition, m.offset, m.key, (event.headers or {}).items(), m.value)
                if chunk is not None:
                    chunks.append((chunk, m.value))
                    windows += join.add(chunk)
            if chunks:
                pipeline = redis.pipeline(transaction=False)
                queue_payloads(pipeline, chunks, settings.ttl_s)
                await pipeline.execute()
            for window in windows:
                await windows_topic.send(key=window["session"].encode(), value=encode_window(window))

    topic = app.topic(settings.media(modality), key_serializer="raw", value_serializer="raw")
    app.agent(topic, name=f"align-{modality}")(align)


for name in MODALITIES:
    add_agent(name)

if __name__ == "__main__":
    faust.Worker(app, loglevel="WARN", quiet=True, redirect_stdouts=False).execute_from_commandline()
