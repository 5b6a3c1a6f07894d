"""Bytewax: three Kafka inputs, read in batches, merged, joined in `stateful_batch` by session, one output.

Its own windows drop a late chunk from all windows and use one clock for all inputs. A join with lateness per modality is
written as a stateful operator, as its documentation recommends.
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

settings = read_settings()
redis = Redis.from_url(settings.redis_url)


class BytewaxSession(StatefulBatchLogic):  # type: ignore[misc]
    """The open windows of one session."""

    def __init__(self, state: SessionJoin | None) -> None:
        self._session = state

    def on_batch(self, batch: list[PeerChunk]) -> tuple[Iterable[dict[str, Any]], bool]:
        """Return the windows that a batch completes; False keeps the state."""
        if self._session is None:
            self._session = SessionJoin(batch[0].session, settings.size_us, settings.hop_us)
        return [window for chunk in batch for window in self._session.add(chunk)], False

    def snapshot(self) -> SessionJoin | None:
        """Return the state to store."""
        return self._session


def batch_reader(modality: str) -> Callable[[list[Any]], Iterable[tuple[str, PeerChunk]]]:
    """Return a function that parses a batch of messages and stores its payloads."""

    def read_batch(messages: list[Any]) -> Iterable[tuple[str, PeerChunk]]:
        chunks = []
        for m in messages:
            chunk = parse_record(modality, m.partition, m.offset, m.key, m.headers, m.value)
            if chunk is not None:
                chunks.append((chunk, m.value))
        if chunks:
            pipeline = redis.pipeline(transaction=False)
            queue_payloads(pipeline, chunks, settings.ttl_s)
            pipeline.execute()
        return [(chunk.session, chunk) for chunk, _ in chunks]

    return read_batch


def make_message(keyed: tuple[str, dict[str, Any]]) -> KafkaSinkMessage:
    """Return the Kafka message of a window with its session as the key."""
    session, window = keyed
    return KafkaSinkMessage(session.encode(), encode_window(window))


flow = Dataflow("bench")
items = []
for name in MODALITIES:
    source = kop.input(name, flow, brokers=[settings.servers], topics=[settings.media(name)])
    items.append(op.flat_map_batch(f"read_{name}", source.oks, batch_reader(name)))
joined = op.stateful_batch("join", op.merge("merge", *items), BytewaxSession)
kop.output(
    "out",
    op.map("encode", joined, make_message),
    brokers=[settings.servers],
    topic=settings.windows,
    add_config={"linger.ms": "2", "partitioner": "murmur2_random"},
)

if __name__ == "__main__":
    cli_main(flow)
