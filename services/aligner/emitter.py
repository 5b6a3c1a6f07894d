"""Emit: carries out the effects of a batch and returns once the broker has all of them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from services.aligner.idleness import IdleMarker
from services.aligner.partition import Effects, Partition
from services.contract import alignment_config, last_emitted_window, tick, window
from services.contract.alignment_config import AlignmentConfig
from services.contract.last_emitted_window import Frontier
from services.contract.tick import TickSigner
from services.contract.topics import Topics
from services.contract.window import Window
from services.kafka import clients

_JSON = [("content-type", b"application/json")]
# Topic, partition number, key, value, headers.
_Record = tuple[str, int, bytes | None, bytes | None, list[tuple[str, bytes]]]


class Emitter:
    """Sends what the aligner says to the partition number that its input came from; nothing is sent without an answer.

    The producer must be idempotent with acks=all: a `RecordMetadata` then means that the record is kept.
    """

    def __init__(
        self, producer: AIOKafkaProducer, topics: Topics, semantics: AlignmentConfig, seal: TickSigner
    ) -> None:
        self._producer, self._topics, self._seal = producer, topics, seal
        self._owned = alignment_config.record_key(semantics.digest), alignment_config.encode_record(semantics)

    async def emit(self, done: Sequence[tuple[Partition, Effects]]) -> None:
        """Send the outputs of a batch, by partition number, and wait for every acknowledgement.

        Raises KafkaError where one fails.
        """
        # What could not enter is told before the windows go out: were a window out and we dead, whoever reads the
        # refused chunk again would find its window gone and call it late.
        await asyncio.gather(*[await self._send(*refused) for _, e in done for refused in self._refused(e)])
        ticks = [await self._send(*told) for _, effects in done for told in self._told(effects)]
        await asyncio.gather(*ticks, *(self._windows(partition, e.windows) for partition, e in done if e.windows))

    def _refused(self, effects: Effects) -> Iterable[_Record]:
        for chunk, fate in effects.late:
            value = window.encode_late(chunk, fate.missed_us, fate.behind_us)
            yield self._topics.late, effects.number, chunk.session.encode(), value, _JSON
        for key, letter in effects.dead:
            yield self._topics.dead, effects.number, key, *letter.encode()

    def _told(self, effects: Effects) -> Iterable[_Record]:
        for modality, value in _ticks(effects.idle_markers):
            topic = self._topics.media(modality)
            headers = tick.headers(value) + self._seal.sign(topic, effects.number, value)
            yield topic, effects.number, None, value, headers

    async def _windows(self, partition: Partition, windows: Sequence[Window]) -> None:
        records = [(w.session.encode(), window.encode(w), _JSON) for w in windows]
        appended_ms = await clients.send_all(self._producer, self._topics.windows, partition.number, records)
        for emitted, at_ms in zip(windows, appended_ms, strict=True):
            if emitted.final:
                partition.on_window_acknowledged(emitted, at_ms * 1000)

    async def publish_settings(self, numbers: Iterable[int]) -> None:
        """Tell by which settings the windows of these partition numbers are made, and wait until it is kept."""
        key, value = self._owned
        await asyncio.gather(*[await self._send(self._topics.frontier, number, key, value) for number in numbers])

    async def publish_frontiers(self, partition: Partition, due: Iterable[Frontier], nonce: str) -> None:
        """Write frontier records and wait for them; then take away those of former owners that say no more."""
        told = list(due)
        if told:
            # Again and again, since retention takes records that are old: it must outlive the frontiers.
            await self.publish_settings([partition.number])
        answers = [
            await self._send(
                self._topics.frontier,
                partition.number,
                last_emitted_window.key(f.session, nonce),
                last_emitted_window.encode(f),
            )
            for f in told
        ]
        await asyncio.gather(*answers)
        for f in told:
            for old_key in partition.coverage.on_frontier_acknowledged(f.session, f.start_us):
                await self._send(self._topics.frontier, partition.number, old_key, None)

    async def _send(
        self,
        topic: str,
        number: int,
        key: bytes | None,
        value: bytes | None,
        headers: list[tuple[str, bytes]] = _JSON,
    ) -> Awaitable[RecordMetadata]:
        sent: Awaitable[RecordMetadata] = await self._producer.send(
            topic, value, key=key, partition=number, headers=headers
        )
        return sent


def _ticks(silences: Iterable[IdleMarker]) -> Iterable[tuple[str, bytes]]:
    """As few tick records as possible: many sessions in one, by modality and evidence."""
    bounds: dict[tuple[str, tick.TickEvidence], dict[str, int]] = defaultdict(dict)
    for silent in silences:
        bounds[silent.modality, silent.evidence][silent.session] = silent.watermark_us
    for (modality, evidence), by_session in bounds.items():
        for value in tick.encode(by_session, evidence):
            yield modality, value
