"""Pathway: three Kafka tables with their metadata, concatenated, grouped by session, joined in a stateful reducer, one
output.

Its temporal windows drop a late item by one clock, the latest event time of the whole table: all sessions and inputs
together. A join that is to hold lateness per session and modality is written as a stateful reducer.
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
# Rows of a topic in the graph at once. With 10,000 nearly all of a short backlog is read before the first window leaves,
# and the time between windows says nothing of their cost.
BACKLOG_MAX = 1_000
BATCH_MAX = 1_000
Fields = tuple[str, str, str, str, int, int, int, int]  # those of an Item

at = read_settings()
redis = Redis.from_url(at.redis_url)


def reading(modality: str) -> Any:
    """A function over columns that reads a batch of records and keeps its payloads."""

    def batch(keys: list[bytes | None], values: list[bytes], metadata: list[pw.Json]) -> list[Fields | None]:
        items: list[Fields | None] = []
        kept = []
        for key, value, told in zip(keys, values, metadata, strict=True):
            origin = told.as_dict()
            item = parse_record(modality, origin["partition"], origin["offset"], key, headers(origin), value)
            items.append(item)
            if item is not None:
                kept.append((item, value))
        if kept:
            pipeline = redis.pipeline(transaction=False)
            queue_payloads(pipeline, kept, at.ttl_s)
            pipeline.execute()
        return items

    return pw.udf(batch, deterministic=True, max_batch_size=BATCH_MAX)


def headers(origin: dict[str, Any]) -> list[tuple[str, bytes]]:
    """The headers of a record, whose values Pathway tells in base64."""
    return [(name, b64decode(text or "")) for name, text in origin["headers"]]


def join(state: tuple[int, Any, tuple[bytes, ...]] | None, rows: list[tuple[list[Any], int]]) -> tuple[Any, ...]:
    """A session after a minibatch, with the windows that it closed; the number makes it another value than before."""
    # A minibatch has no order of its own; within a session each modality comes from one partition.
    items = sorted((PeerChunk(*row[0]) for row, _ in rows), key=lambda item: item.offset)
    if state is None:
        state = 0, pw.wrap_py_object(SessionJoin(items[0].session, at.size_us, at.hop_us)), ()
    number, session, _ = state
    closed = (encode_window(window) for item in items for window in session.value.add(item))
    return number + 1, session, tuple(closed)


def closed_of(state: Any) -> tuple[bytes, ...]:
    """The windows that a session's last minibatch closed."""
    closed: tuple[bytes, ...] = state[2]
    return closed


tables = []
for name in MODALITIES:
    records = pw.io.kafka.read(
        {"bootstrap.servers": at.servers, "group.id": at.group, "auto.offset.reset": "earliest"},
        topic=at.media(name),
        format="raw",
        autogenerate_key=True,
        with_metadata=True,
        autocommit_duration_ms=COMMIT_EVERY_MS,
        max_backlog_size=BACKLOG_MAX,
    )
    found = records.select(item=reading(name)(pw.this.key, pw.this.data, pw.this._metadata))
    tables.append(found.filter(pw.this.item.is_not_none()).select(item=pw.unwrap(pw.this.item)))
items = pw.Table.concat_reindex(*tables).select(pw.this.item, session=pw.this.item[0])
sessions = items.groupby(pw.this.session).reduce(pw.this.session, state=pw.reducers.stateful_many(join)(pw.this.item))
# A state replaces the one before it: of these changes only the new states, each with the windows that it brought.
changes = sessions.to_stream("is_new").filter(pw.this.is_new)
windows = changes.select(pw.this.session, window=pw.udf(closed_of, deterministic=True)(pw.this.state)).flatten(
    pw.this.window
)
pw.io.kafka.write(
    windows,
    {"bootstrap.servers": at.servers, "linger.ms": "2", "partitioner": "murmur2_random"},
    at.windows,
    format="raw",
    key=windows.session,
    value=windows.window,
)

if __name__ == "__main__":
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
