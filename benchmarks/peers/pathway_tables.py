"""Pathway: three Kafka tables with metadata, concatenated, grouped by session and joined in a stateful reducer.

Its temporal windows drop late chunks by one clock, the latest event time of the whole table. A join with lateness per
session and modality is written as a stateful reducer.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pathway as pw
from redis import Redis

from benchmarks.peers.job import (
    MODALITIES,
    PeerChunk,
    SessionJoin,
    encode_window,
    parse_record,
    queue_payloads,
    read_settings,
)

COMMIT_EVERY_MS = 20
# Rows of a topic in the graph at once. With 10,000, nearly all of a short backlog is read before the first window is
# written, and the time between windows does not show their cost.
BACKLOG_MAX = 1_000
BATCH_MAX = 1_000
Fields = tuple[str, str, str, str, int, int, int, int]  # the fields of a PeerChunk

settings = read_settings()
redis = Redis.from_url(settings.redis_url)


def batch_reader(modality: str) -> Any:
    """Return a function over columns that parses a batch of records and stores its payloads."""

    def read_batch(keys: list[bytes | None], values: list[bytes], metadata: list[pw.Json]) -> list[Fields | None]:
        items: list[Fields | None] = []
        chunks = []
        for key, value, origin_json in zip(keys, values, metadata, strict=True):
            origin = origin_json.as_dict()
            chunk = parse_record(modality, origin["partition"], origin["offset"], key, headers(origin), value)
            items.append(chunk)
            if chunk is not None:
                chunks.append((chunk, value))
        if chunks:
            pipeline = redis.pipeline(transaction=False)
            queue_payloads(pipeline, chunks, settings.ttl_s)
            pipeline.execute()
        return items

    return pw.udf(read_batch, deterministic=True, max_batch_size=BATCH_MAX)


def headers(origin: dict[str, Any]) -> list[tuple[str, bytes]]:
    """Return the headers of a record; Pathway gives their values in base64."""
    return [(name, b64decode(text or "")) for name, text in origin["headers"]]


def join(state: tuple[int, Any, tuple[bytes, ...]] | None, rows: list[tuple[list[Any], int]]) -> tuple[Any, ...]:
    """Return a session's state after a minibatch with the windows it completed; the number makes each state a new value."""
    # A minibatch is unordered; within a session each modality comes from one partition.
    items = sorted((PeerChunk(*row[0]) for row, _ in rows), key=lambda chunk: chunk.offset)
    if state is None:
        state = 0, pw.wrap_py_object(SessionJoin(items[0].session, settings.size_us, settings.hop_us)), ()
    number, session, _ = state
    closed = (encode_window(window) for chunk in items for window in session.value.add(chunk))
    return number + 1, session, tuple(closed)


def completed_windows(state: Any) -> tuple[bytes, ...]:
    """Return the windows that a session's last minibatch completed."""
    closed: tuple[bytes, ...] = state[2]
    return closed


tables = []
for name in MODALITIES:
    records = pw.io.kafka.read(
        {"bootstrap.servers": settings.servers, "group.id": settings.group, "auto.offset.reset": "earliest"},
        topic=settings.media(name),
        format="raw",
        autogenerate_key=True,
        with_metadata=True,
        autocommit_duration_ms=COMMIT_EVERY_MS,
        max_backlog_size=BACKLOG_MAX,
    )
    parsed = records.select(item=batch_reader(name)(pw.this.key, pw.this.data, pw.this._metadata))
    tables.append(parsed.filter(pw.this.item.is_not_none()).select(item=pw.unwrap(pw.this.item)))
items = pw.Table.concat_reindex(*tables).select(pw.this.item, session=pw.this.item[0])
sessions = items.groupby(pw.this.session).reduce(pw.this.session, state=pw.reducers.stateful_many(join)(pw.this.item))
# A state replaces the one before it. Only the new states count, each with the windows it completed.
changes = sessions.to_stream("is_new").filter(pw.this.is_new)
windows = changes.select(pw.this.session, window=pw.udf(completed_windows, deterministic=True)(pw.this.state)).flatten(
    pw.this.window
)
pw.io.kafka.write(
    windows,
    {"bootstrap.servers": settings.servers, "linger.ms": "2", "partitioner": "murmur2_random"},
    settings.windows,
    format="raw",
    key=windows.session,
    value=windows.window,
)

if __name__ == "__main__":
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
