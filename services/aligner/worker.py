"""The aligner's worker: the partition numbers that this process owns, and everything a batch does outside."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.aligner.admit import Arrival
from services.aligner.emit import Emitter
from services.aligner.gauges import Gauges
from services.aligner.instep import Record
from services.aligner.partition import Effects, Partition
from services.aligner.patience import LONG_US, Patience, Proof
from services.aligner.recover import recover
from services.contract.semantics import Semantics
from services.contract.topics import Topics
from services.payloads.redis_window import RedisWindow, Stored
from services.runtime.monotonic import monotonic_us

Batch = Mapping[int, Sequence[tuple[str, Record]]]


class Worker:
    """Owns the partitions between two assignments; `process` returns once all effects are acknowledged."""

    def __init__(
        self,
        semantics: Semantics,
        patience: Patience,
        topics: Topics,
        tail_ms: int,
        emitter: Emitter,
        payloads: RedisWindow,
        reader: AIOKafkaConsumer,
        gauges: Gauges,
    ) -> None:
        self._semantics, self._patience, self._topics, self._tail_ms = semantics, patience, topics, tail_ms
        self._emitter, self._payloads, self._reader, self._gauges = emitter, payloads, reader, gauges
        self._partitions: dict[int, Partition] = {}
        self._nonce = ""

    async def adopt(self, group: AIOKafkaConsumer, numbers: Sequence[int]) -> dict[TopicPartition, int]:
        """Forget everything and read where these partition numbers go on: the positions to seek to."""
        self._partitions, self._nonce = {}, secrets.token_hex(4)
        positions: dict[TopicPartition, int] = {}
        count = len(group.partitions_for_topic(self._topics.media_all[0]) or ())
        for number in numbers:
            found = await recover(
                group, self._reader, self._topics, number, self._tail_ms, self._semantics.config
            )
            self._gauges.lost(number, found.lost)
            self._partitions[number] = Partition(
                number, count, self._semantics, self._patience, self._topics, self._tail_ms * 1000, found.start
            )
            for modality, offset in found.start.positions.items():
                positions[TopicPartition(self._topics.media(modality), number)] = offset
        self._gauges.adopted(len(numbers))
        return positions

    def next_us(self) -> int:
        """When something is due even without records, on the monotonic clock."""
        return min((p.next_us() for p in self._partitions.values()), default=LONG_US)

    async def process(self, group: AIOKafkaConsumer, batch: Batch) -> None:
        """Take a batch through the core and carry out what follows. Raises KafkaError: the process must end then."""
        now_us = monotonic_us()
        await self._carry_out(
            [
                (partition, partition.take(batch.get(number, ()), now_us))
                for number, partition in self._partitions.items()
                if number in batch or partition.next_us() <= now_us
            ]
        )
        await self._prove(group)

    async def covered_floors(self) -> dict[TopicPartition, int]:
        """The floors that may be committed now: every frontier record that they rely on is acknowledged."""
        floors: dict[TopicPartition, int] = {}
        for partition in self._partitions.values():
            moved = partition.floors()
            await self._emitter.cover(partition, partition.to_cover(), self._nonce)
            for modality, floor in moved.items():
                floors[TopicPartition(self._topics.media(modality), partition.number)] = floor
        return floors

    async def _prove(self, group: AIOKafkaConsumer) -> None:
        """Ask for the ends of the logs in which a silence may be due, then write what the answer proves."""
        asked_us = monotonic_us()
        wanting = [p for p in self._partitions.values() if p.wants_proof(asked_us)]
        if not wanting:
            return
        tps = {(p.number, m): TopicPartition(self._topics.media(m), p.number) for p in wanting for m in p.positions}
        ends = await group.end_offsets(list(tps.values()))
        for partition in wanting:
            partition.prove(Proof(asked_us, {m: ends[tps[partition.number, m]] for m in partition.positions}))
        now_us = monotonic_us()
        await self._carry_out([(partition, partition.take((), now_us)) for partition in wanting])

    async def _carry_out(self, done: Sequence[tuple[Partition, Effects]]) -> None:
        await self._payloads.put([_stored(a) for _, e in done for a in e.payloads if not a.chunk.alive])
        await asyncio.gather(*(self._emitter.emit(partition, effects) for partition, effects in done if effects))
        for partition, effects in done:
            self._gauges.observe(partition, effects)


def _stored(arrival: Arrival) -> Stored:
    chunk = arrival.chunk
    return Stored(
        session=chunk.session,
        modality=chunk.modality,
        t_us=chunk.t_us,
        partition=chunk.partition,
        offset=chunk.offset,
        content_type=arrival.content_type,
        body=arrival.payload,
    )
