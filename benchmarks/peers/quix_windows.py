"""Quix Streams: three topics concatenated, its own hopping windows by event time and key, `Collect`, closed per key.

It has one clock per key over all topics: lateness per modality cannot be expressed, so windows around late records differ.
"""

from __future__ import annotations

import os
import time
from datetime import datetime
from typing import Any

from quixstreams import Application, message_context
from quixstreams.dataframe.windows.aggregations import Collect
from redis import Redis

from benchmarks.peers.job import MODALITIES, PeerChunk, parse_record, queue_payloads, read_settings, window_record

FLUSH_ITEMS, FLUSH_S = 500, 0.02

settings = read_settings()
redis = Redis.from_url(settings.redis_url)
app = Application(
    broker_address=settings.servers,
    consumer_group=settings.group,
    auto_offset_reset="earliest",
    state_dir=os.environ["BENCH_FOLDER"],
    consumer_poll_timeout=0.05,
    producer_extra_config={"linger.ms": 2},
    loglevel="WARNING",
)
pending: list[tuple[PeerChunk, bytes]] = []
last_flush_s = time.monotonic()


def event_time_ms(value: Any, headers: Any, timestamp_ms: int, kind: Any) -> int:
    """Return the capture time from the headers, or the append time of a broken record, which is filtered out later."""
    try:
        return round(datetime.fromisoformat(dict(headers)["ce_time"].decode()).timestamp() * 1000)
    except (KeyError, ValueError):
        return timestamp_ms


def store_payload(chunk: PeerChunk, value: bytes) -> None:
    """Write payloads to Redis, many in one pipeline."""
    global last_flush_s
    pending.append((chunk, value))
    now_s = time.monotonic()
    if len(pending) >= FLUSH_ITEMS or now_s - last_flush_s > FLUSH_S:
        pipeline = redis.pipeline(transaction=False)
        queue_payloads(pipeline, pending, settings.ttl_s)
        pipeline.execute()
        pending.clear()
        last_flush_s = now_s


def record_reader(modality: str) -> Any:
    """Return a function that parses a record and stores its payload."""

    def read_record(value: bytes, key: bytes, timestamp: int, headers: Any) -> list[Any] | None:
        context = message_context()
        chunk = parse_record(modality, context.partition, context.offset, key, headers or (), value)
        if chunk is None:
            return None
        store_payload(chunk, value)
        return list(chunk)

    return read_record


def make_window(value: dict[str, Any], key: bytes, timestamp: int, headers: Any) -> dict[str, Any]:
    """Return the record of a closed window, with each chunk once."""
    streams: dict[str, dict[tuple[str, str], PeerChunk]] = {modality: {} for modality in MODALITIES}
    for fields in value["items"]:
        chunk = PeerChunk(*fields)
        streams[chunk.modality].setdefault((chunk.source, chunk.id), chunk)
    return window_record(
        key.decode(), value["start"] * 1000, {m: list(chunks.values()) for m, chunks in streams.items()}
    )


frames = [
    app.dataframe(
        app.topic(
            settings.media(m), value_deserializer="bytes", key_deserializer="bytes", timestamp_extractor=event_time_ms
        )
    )
    .apply(record_reader(m), metadata=True)
    .filter(lambda chunk: chunk is not None)
    for m in MODALITIES
]
joined = frames[0].concat(frames[1]).concat(frames[2])
closed = joined.hopping_window(settings.size_us // 1000, settings.hop_us // 1000, grace_ms=500).agg(items=Collect())
closed.final(closing_strategy="key").apply(make_window, metadata=True).to_topic(
    app.topic(settings.windows, value_serializer="json", key_serializer="bytes")
)

if __name__ == "__main__":
    app.run()
