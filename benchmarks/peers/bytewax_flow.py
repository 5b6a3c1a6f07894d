"""Bytewax: three Kafka inputs, read in batches, merged, joined in `stateful_batch` by session, one output.

Its own windows drop a late item whole and judge it by one clock for all inputs; a join that is to hold per-modality
lateness is written as a stateful operator, which is what its documentation says they are for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSinkMessage
from bytewax.connectors.kafka import operators as kop
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.run import cli_main
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

at = read_settings()
redis = Redis.from_url(at.redis_url)


class BytewaxSession(StatefulBatchLogic):  # type: ignore[misc]
    """The open windows of one session."""

    def __init__(self, state: SessionJoin | None) -> None:
        self._session = state

    def on_batch(self, batch: list[PeerChunk]) -> tuple[Iterable[dict[str, Any]], bool]:
        if self._session is None:
            self._session = SessionJoin(batch[0].session, at.size_us, at.hop_us)
        return [window for item in batch for window in self._session.add(item)], False

    def snapshot(self) -> SessionJoin | None:
        return self._session


def reading(modality: str) -> Callable[[list[Any]], Iterable[tuple[str, PeerChunk]]]:
    """Reads a batch of messages and keeps its payloads."""

    def batch(messages: list[Any]) -> Iterable[tuple[str, PeerChunk]]:
        kept = []
        for m in messages:
            item = parse_record(modality, m.partition, m.offset, m.key, m.headers, m.value)
            if item is not None:
                kept.append((item, m.value))
        if kept:
            pipeline = redis.pipeline(transaction=False)
            queue_payloads(pipeline, kept, at.ttl_s)
            pipeline.execute()
        return [(item.session, item) for item, _ in kept]

    return batch


def message(keyed: tuple[str, dict[str, Any]]) -> KafkaSinkMessage:
    session, window = keyed
    return KafkaSinkMessage(session.encode(), encode_window(window))


flow = Dataflow("bench")
items = []
for name in MODALITIES:
    source = kop.input(name, flow, brokers=[at.servers], topics=[at.media(name)])
    items.append(op.flat_map_batch(f"read_{name}", source.oks, reading(name)))
joined = op.stateful_batch("join", op.merge("merge", *items), BytewaxSession)
kop.output(
    "out",
    op.map("encode", joined, message),
    brokers=[at.servers],
    topic=at.windows,
    add_config={"linger.ms": "2", "partitioner": "murmur2_random"},
)

if __name__ == "__main__":
    cli_main(flow)
