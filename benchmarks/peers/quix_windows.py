"""Quix Streams: three topics concatenated, its own hopping windows by event time and key, `Collect`, closed per key.

Its clock is one per key over all topics: lateness per modality cannot be said, so windows differ where records are late.
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

at = read_settings()
redis = Redis.from_url(at.redis_url)
app = Application(
    broker_address=at.servers,
    consumer_group=at.group,
    auto_offset_reset="earliest",
    state_dir=os.environ["BENCH_FOLDER"],
    consumer_poll_timeout=0.05,
    producer_extra_config={"linger.ms": 2},
    loglevel="WARNING",
)
waiting: list[tuple[PeerChunk, bytes]] = []
flushed_s = time.monotonic()


def event_time_ms(value: Any, headers: Any, timestamp_ms: int, kind: Any) -> int:
    """The capture time in the headers; the broker's where it cannot be read (the record is filtered then)."""
    try:
        return round(datetime.fromisoformat(dict(headers)["ce_time"].decode()).timestamp() * 1000)
    except (KeyError, ValueError):
        return timestamp_ms


def keep(item: PeerChunk, value: bytes) -> None:
    """Payloads to Redis, many in one pipeline."""
    global flushed_s
    waiting.append((item, value))
    now_s = time.monotonic()
    if len(waiting) >= FLUSH_ITEMS or now_s - flushed_s > FLUSH_S:
        pipeline = redis.pipeline(transaction=False)
        queue_payloads(pipeline, waiting, at.ttl_s)
        pipeline.execute()
        waiting.clear()
        flushed_s = now_s


def reading(modality: str) -> Any:
    def one(value: bytes, key: bytes, timestamp: int, headers: Any) -> list[Any] | None:
        context = message_context()
        item = parse_record(modality, context.partition, context.offset, key, headers or (), value)
        if item is None:
            return None
        keep(item, value)
        return list(item)

    return one


def window(value: dict[str, Any], key: bytes, timestamp: int, headers: Any) -> dict[str, Any]:
    """The record of a closed window, each chunk once."""
    lanes: dict[str, dict[tuple[str, str], PeerChunk]] = {modality: {} for modality in MODALITIES}
    for fields in value["items"]:
        item = PeerChunk(*fields)
        lanes[item.modality].setdefault((item.source, item.id), item)
    return window_record(key.decode(), value["start"] * 1000, {m: list(found.values()) for m, found in lanes.items()})


frames = [
    app.dataframe(
        app.topic(at.media(m), value_deserializer="bytes", key_deserializer="bytes", timestamp_extractor=event_time_ms)
    )
    .apply(reading(m), metadata=True)
    .filter(lambda item: item is not None)
    for m in MODALITIES
]
joined = frames[0].concat(frames[1]).concat(frames[2])
closed = joined.hopping_window(at.size_us // 1000, at.hop_us // 1000, grace_ms=500).agg(items=Collect())
closed.final(closing_strategy="key").apply(window, metadata=True).to_topic(
    app.topic(at.windows, value_serializer="json", key_serializer="bytes")
)

if __name__ == "__main__":
    app.run()
