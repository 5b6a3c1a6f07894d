"""Stock Faust: an agent for each topic, batches by `take_events`, the join by hand (Faust's own joins do not exist, and
its windows go by the wall clock)."""

from __future__ import annotations

import os
from typing import Any

import faust
from redis.asyncio import Redis

from benchmarks.peers.job import MODALITIES, WindowJoin, encode_window, parse_record, queue_payloads, read_settings

at = read_settings()
app = faust.App(
    at.group,
    broker=f"kafka://{at.servers}",
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
join, redis = WindowJoin(at.size_us, at.hop_us), Redis.from_url(at.redis_url)
windows_topic = app.topic(at.windows, key_serializer="raw", value_serializer="raw")


def agent_of(modality: str) -> None:
    """The agent of one modality's topic."""

    async def align(stream: Any) -> None:
        async for events in stream.take_events(1_000, within=0.02):
            kept, windows = [], []
            for event in events:
                m = event.message
                item = parse_record(modality, m.partition, m.offset, m.key, (event.headers or {}).items(), m.value)
                if item is not None:
                    kept.append((item, m.value))
                    windows += join.add(item)
            if kept:
                pipeline = redis.pipeline(transaction=False)
                queue_payloads(pipeline, kept, at.ttl_s)
                await pipeline.execute()
            for window in windows:
                await windows_topic.send(key=window["session"].encode(), value=encode_window(window))

    topic = app.topic(at.media(modality), key_serializer="raw", value_serializer="raw")
    app.agent(topic, name=f"align-{modality}")(align)


for name in MODALITIES:
    agent_of(name)

if __name__ == "__main__":
    faust.Worker(app, loglevel="WARN", quiet=True, redirect_stdouts=False).execute_from_commandline()
