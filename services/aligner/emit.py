"""Emit: carries out the effects of a batch and returns once the broker has all of them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterable

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from services.aligner.partition import Effects, Partition
from services.aligner.patience import Silent
from services.contract import frontier, late, owned, tick, window
from services.contract.frontier import Frontier
from services.contract.semantics import Semantics
from services.contract.topics import Topics
from services.runtime import kafka

_JSON = [("content-type", b"application/json")]


class Emitter:
    """Sends what the aligner says to the partition number that its input came from; nothing is sent without an answer.

    The producer must be idempotent with acks=all: a `RecordMetadata` then means that the record is kept.
    """

    def __init__(self, producer: AIOKafkaProducer, topics: Topics, semantics: Semantics) -> None:
        self._producer, self._topics = producer, topics
        self._owned = owned.key(semantics.config), owned.encode(semantics)

    async def emit(self, partition: Partition, effects: Effects) -> None:
        """Send the outputs of a batch and wait for every acknowledgement. Raises KafkaError where one fails."""
        number = effects.number
        told = [
            await self._send(
                self._topics.late, number, chunk.session.encode(), late.encode(chunk, fate.missed_us, fate.behind_us)
            )
            for chunk, fate in effects.late
        ]
        for key, dead in effects.dead:
            value, headers = dead.encode()
            told.append(await self._send(self._topics.dead, number, key, value, headers))
        # What could not enter is told before the windows go out: were a window out and we dead, whoever reads the
        # refused chunk again would find its window gone and call it late.
        await asyncio.gather(*told)
        windows = [(w.session.encode(), window.encode(w), _JSON) for w in effects.windows]
        appended_ms, _ = await asyncio.gather(
            kafka.send_all(self._producer, self._topics.windows, number, windows),
            self._silences(number, effects.silences),
        )
        for emitted, at_ms in zip(effects.windows, appended_ms, strict=True):
            if emitted.final:
                partition.acknowledged(emitted, at_ms * 1000)

    async def _silences(self, number: int, silences: Iterable[Silent]) -> None:
        ticks = [
            await self._send(self._topics.media(modality), number, None, value, tick.headers(value))
            for modality, value in _ticks(silences)
        ]
        await asyncio.gather(*ticks)

    async def own(self, numbers: Iterable[int]) -> None:
        """Tell by which settings the windows of these partition numbers are made, and wait until it is kept."""
        key, value = self._owned
        await asyncio.gather(*[await self._send(self._topics.frontier, number, key, value) for number in numbers])

    async def cover(self, partition: Partition, due: Iterable[Frontier], nonce: str) -> None:
        """Write frontier records and wait for them; then take away those of former owners that say no more."""
        told = list(due)
        if told:
            # Again and again, since retention takes records that are old: it must outlive the frontiers.
            await self.own([partition.number])
        answers = [
            await self._send(
                self._topics.frontier, partition.number, frontier.key(f.session, nonce), frontier.encode(f)
            )
            for f in told
        ]
        await asyncio.gather(*answers)
        for f in told:
            for old_key in partition.coverage.covered(f.session, f.start_us):
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


def _ticks(silences: Iterable[Silent]) -> Iterable[tuple[str, bytes]]:
    """As few tick records as possible: many sessions in one, by modality and evidence."""
    bounds: dict[tuple[str, tick.Silence], dict[str, int]] = defaultdict(dict)
    for silent in silences:
        bounds[silent.modality, silent.evidence][silent.session] = silent.bound_us
    for (modality, evidence), by_session in bounds.items():
        for value in tick.encode(by_session, evidence):
            yield modality, value
