"""The aligner's work: the partition numbers that this process owns, and everything a batch does outside."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from services.aligner.emitter import Emitter
from services.aligner.idleness import FOREVER_US, EndOffsets, IdleTimeouts
from services.aligner.metrics import AlignerObserver
from services.aligner.ordered_merge import LogMerger
from services.aligner.partition import Effects, Partition
from services.aligner.recovery import AlignerRecovery, recover
from services.contract.admission import AdmittedChunk
from services.contract.alignment_config import AlignmentConfig
from services.contract.record import LogRecord
from services.contract.tick import TickSigner
from services.contract.topics import Topics
from services.kafka.log_reader import read_partitions
from services.runtime.monotonic_clock import monotonic_us
from services.storage.payload_cache import CacheEntry, PayloadCache

QUEUE_RECORDS_MAX = 5_000
QUEUE_BYTES_MAX = 64 * 1024 * 1024
Batch = Mapping[int, Sequence[tuple[str, LogRecord]]]
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AlignerConfig:
    """What alignment does, how long it waits, what its topics are, and how its ticks are told from those of others."""

    semantics: AlignmentConfig
    patience: IdleTimeouts
    topics: Topics
    skew_ms: int
    tail_ms: int
    any_eviction_policy: bool
    seal: TickSigner


class AlignerWorker:
    """Owns its partition numbers between two assignments; `process` returns once all effects are acknowledged."""

    def __init__(
        self,
        rules: AlignerConfig,
        make_producer: Callable[[], AIOKafkaProducer],
        make_reader: Callable[[], AIOKafkaConsumer],
        make_payloads: Callable[[], PayloadCache],
        observer: AlignerObserver,
    ) -> None:
        self._rules, self._observer = rules, observer
        self._make_producer, self._make_reader, self._make_payloads = make_producer, make_reader, make_payloads
        self._partitions: dict[int, Partition] = {}
        self._queues: dict[int, LogMerger] = {}
        self._logs: dict[int, dict[str, TopicPartition]] = {}
        self._behind: set[int] = set()
        self._nonce = ""

    async def start(self) -> None:
        self._producer, self._payloads = self._make_producer(), self._make_payloads()
        await self._producer.start()
        if not self._rules.any_eviction_policy:
            await self._payloads.check_policy()
        self._emitter = Emitter(self._producer, self._rules.topics, self._rules.semantics, self._rules.seal)

    async def stop(self) -> None:
        await self._producer.stop()
        await self._payloads.close()

    async def on_assigned(self, group: AIOKafkaConsumer, numbers: Sequence[int]) -> dict[TopicPartition, int]:
        """Forget everything and read where these partition numbers go on: the positions to seek to."""
        rules, topics = self._rules, self._rules.topics
        self._partitions, self._queues, self._nonce = {}, {}, secrets.token_hex(4)
        self._logs = {n: {m: TopicPartition(topics.media(m), n) for m in topics.modalities} for n in numbers}
        positions: dict[TopicPartition, int] = {}
        count = len(group.partitions_for_topic(topics.media_all[0]) or ())

        async def read(reader: AIOKafkaConsumer, number: int) -> AlignerRecovery:
            return await recover(group, reader, topics, number, rules.tail_ms, rules.semantics.digest)

        recovered = await read_partitions(self._make_reader, numbers, read)
        await self._emitter.publish_settings(numbers)
        for number, found in zip(numbers, recovered, strict=True):
            self._observer.lost(number, found.lost)
            self._partitions[number] = Partition(
                number, count, rules.semantics, rules.patience, topics, rules.tail_ms * 1000, found.start, rules.seal
            )
            self._queues[number] = LogMerger(found.start.positions, rules.skew_ms, QUEUE_RECORDS_MAX, QUEUE_BYTES_MAX)
            for modality, offset in found.start.positions.items():
                positions[self._logs[number][modality]] = offset
        _log.info("adopted", extra={"partitions": len(numbers), "config": rules.semantics.digest})
        return positions

    def prepare_batch(self, group: AIOKafkaConsumer, fetched: Mapping[TopicPartition, list[ConsumerRecord]]) -> Batch:
        """Queue what was fetched; what may be handed on in step. Logs too far ahead are paused."""
        for tp, records in fetched.items():
            self._queues[tp.partition].add(self._rules.topics.modality_of(tp.topic), records)
        batch: dict[int, Sequence[tuple[str, LogRecord]]] = {}
        self._behind.clear()
        paused = group.paused()
        lag: dict[str, int] = dict.fromkeys(self._rules.topics.media_all, 0)
        oldest_ms: dict[str, int] = {}
        for number, queue in self._queues.items():
            logs = self._logs[number]
            ends = {m: group.highwater(tp) for m, tp in logs.items()}
            released = queue.release(ends)
            if queue.has_more(ends):
                self._behind.add(number)
            if released:
                batch[number] = released
                for modality, first in dict(reversed(released)).items():
                    topic = logs[modality].topic
                    oldest_ms[topic] = min(first.timestamp, oldest_ms.get(topic, first.timestamp))
            positions = self._partitions[number].positions
            for modality, tp in logs.items():
                lag[tp.topic] += max((ends[modality] or 0) - positions[modality], 0)
            full = queue.paused_modalities()
            group.pause(*(tp for m, tp in logs.items() if m in full and tp not in paused))
            group.resume(*(tp for m, tp in logs.items() if m not in full and tp in paused))
        self._observer.lag(lag, oldest_ms)
        return batch

    async def process(self, group: AIOKafkaConsumer, batch: Batch) -> None:
        """Take a batch through the core and carry out what follows. Raises KafkaError: the process must end then."""
        now_us = monotonic_us()
        await self._carry_out(
            [
                (partition, partition.process(batch.get(number, ()), now_us, behind=number in self._behind))
                for number, partition in self._partitions.items()
                if number in batch or partition.next_deadline_us() <= now_us
            ]
        )
        await self._prove(group)
        self._observer.batch(monotonic_us() - now_us, self._partitions.values(), self._payloads.errors)

    async def flush(self) -> None:
        """Nothing to wait for: `process` leaves nothing on its way."""

    def next_deadline_us(self) -> int:
        """When something is due even without records, on the monotonic clock."""
        return min((p.next_deadline_us() for p in self._partitions.values()), default=FOREVER_US)

    async def commit_offsets(self) -> dict[TopicPartition, int]:
        """The floors that may be committed now: every frontier record that they rely on is acknowledged."""
        floors: dict[TopicPartition, int] = {}
        for number, partition in self._partitions.items():
            moved = partition.commit_offsets()
            await self._emitter.publish_frontiers(partition, partition.due_frontiers(), self._nonce)
            floors |= {self._logs[number][modality]: floor for modality, floor in moved.items()}
        return floors

    async def _prove(self, group: AIOKafkaConsumer) -> None:
        """Ask for the ends of the logs in which a silence may be due, then write what the answer proves."""
        asked_us = monotonic_us()
        wanting = [p for p in self._partitions.values() if p.needs_end_offsets(asked_us)]
        if not wanting:
            return
        ends = await group.end_offsets([log for p in wanting for log in self._logs[p.number].values()])
        for partition in wanting:
            partition.set_end_offsets(
                EndOffsets(asked_us, {m: ends[log] for m, log in self._logs[partition.number].items()})
            )
        now_us = monotonic_us()
        await self._carry_out([(p, p.process((), now_us, behind=p.number in self._behind)) for p in wanting])

    async def _carry_out(self, done: Sequence[tuple[Partition, Effects]]) -> None:
        await self._payloads.put([_stored(a) for _, e in done for a in e.payloads if not a.chunk.alive])
        await self._emitter.emit(done)
        for _, effects in done:
            self._observer.effects(effects)


def _stored(arrival: AdmittedChunk) -> CacheEntry:
    (session, modality, _, _, t_us, _, _, partition, offset, _), content_type, body = arrival
    # By place, and not by name: there is one for each chunk.
    return CacheEntry(session, modality, t_us, partition, offset, content_type, body)
