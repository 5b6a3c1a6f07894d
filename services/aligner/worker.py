"""The aligner's work: the partition numbers that this process owns, and the effects of each batch."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord

from services.aligner.config import AlignerConfig
from services.aligner.emitter import Emitter
from services.aligner.idleness import FOREVER_US, EndOffsets
from services.aligner.metrics import AlignerObserver
from services.aligner.ordered_merge import LogMerger
from services.aligner.partition import Effects, Partition, RecordError
from services.aligner.recovery import AlignerRecovery, recover
from services.contract.admission import AdmittedChunk
from services.contract.dead_letter import Rejected, rejected_for
from services.contract.kafka_record import LogRecord
from services.kafka import clients
from services.kafka.log_reader import read_partitions, read_range
from services.kafka.open_transactions import OpenTransactions
from services.runtime.monotonic_clock import monotonic_us
from services.storage.payload_cache import CacheEntry, PayloadCache

ENDS_WITHIN_S = 5.0
# How many offsets are read back first; four times as many each time that a period begins before them.
READ_BACK_OFFSETS = 250
QUEUE_RECORDS_MAX = 5_000
QUEUE_BYTES_MAX = 64 * 1024 * 1024

_log = logging.getLogger(__name__)


class ReleasedRecords(NamedTuple):
    """Records of one partition number with their modalities, and the offsets that follow them (by modality)."""

    records: Sequence[tuple[str, LogRecord]]
    next_offsets: Mapping[str, int]


Batch = Mapping[int, ReleasedRecords]
NOTHING_RELEASED = ReleasedRecords((), {})


class AlignerWorker:
    """Owns partition numbers between two assignments.

    Args:
        config: The aligner's configuration.
        make_producer: Makes an idempotent producer.
        make_reader: Makes a consumer without a group that reads records of this isolation level.
        make_payloads: Makes the payload cache.
        observer: Exports metrics.
        check_topics: Raises RecordLimitError if a topic cannot hold the largest record.
    """

    def __init__(
        self,
        config: AlignerConfig,
        make_producer: Callable[[], AIOKafkaProducer],
        make_reader: Callable[[str], AIOKafkaConsumer],
        make_payloads: Callable[[], PayloadCache],
        observer: AlignerObserver,
        check_topics: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._config, self._observer, self._check_topics = config, observer, check_topics
        self._make_producer, self._make_reader, self._make_payloads = make_producer, make_reader, make_payloads
        self._partitions: dict[int, Partition] = {}
        self._queues: dict[int, LogMerger] = {}
        self._logs: dict[int, dict[str, TopicPartition]] = {}
        self._lagging: set[int] = set()
        self._transactions = OpenTransactions()
        self._failed: dict[int, dict[tuple[str, int], Rejected]] = {}
        self._nonce = ""

    async def start(self) -> None:
        """Connect to the broker and Redis. Raises KafkaError, EvictionPolicyError, RecordLimitError."""
        if self._check_topics is not None:
            await self._check_topics()
        self._payloads = self._make_payloads()
        if not self._config.any_eviction_policy:
            await self._payloads.check_policy()
        await self._connect()

    async def _connect(self) -> None:
        config = self._config
        self._producer = self._make_producer()
        await self._producer.start()
        self._emitter = Emitter(self._producer, config.topics, config.alignment, config.signer)

    async def stop(self) -> None:
        """Disconnect."""
        await self._producer.stop()
        await self._payloads.close()

    async def reset(self) -> None:
        """Drop all state and replace the producer. Raises KafkaError."""
        self._partitions, self._queues = {}, {}
        await self._producer.stop()
        await self._connect()

    async def on_assigned(self, group: AIOKafkaConsumer, numbers: Sequence[int]) -> dict[TopicPartition, int]:
        """Drop all state and recover these partition numbers; return the positions to seek to.

        Raises:
            SettingsMismatchError: The topics hold windows of other settings.
            KafkaError: The broker fails.
        """
        topics = self._config.topics
        self._partitions, self._queues, self._nonce = {}, {}, secrets.token_hex(4)
        self._transactions = OpenTransactions()
        self._failed = {n: {} for n in numbers}
        self._logs = {n: {m: TopicPartition(topics.media(m), n) for m in topics.modalities} for n in numbers}
        return await self._recover(group, numbers)

    async def _recover(self, group: AIOKafkaConsumer, numbers: Sequence[int]) -> dict[TopicPartition, int]:
        """Build the state of these partition numbers from the topics; return the positions to seek to."""
        config, topics = self._config, self._config.topics
        positions: dict[TopicPartition, int] = {}

        async def read(reader: AIOKafkaConsumer, number: int) -> AlignerRecovery:
            return await recover(group, reader, topics, number, config.tail_ms, config.alignment.digest)

        recoveries = await read_partitions(
            lambda: self._make_reader(clients.EVERY_RECORD["isolation_level"]), numbers, read
        )
        await self._emitter.publish_settings(numbers)
        for number, recovery in zip(numbers, recoveries, strict=True):
            self._observer.on_lost(number, recovery.lost)
            self._partitions[number] = Partition(
                number,
                config.partitions,
                config.alignment,
                config.timeouts,
                topics,
                config.tail_ms * 1000,
                recovery.start,
                config.signer,
                self._failed[number],
            )
            self._queues[number] = LogMerger(
                recovery.start.positions, config.skew_ms, QUEUE_RECORDS_MAX, QUEUE_BYTES_MAX
            )
            for modality, offset in recovery.start.positions.items():
                positions[self._logs[number][modality]] = offset
        await self._count_open_sessions(numbers)
        _log.info("partitions assigned", extra={"partitions": len(numbers), "config": config.alignment.digest})
        return positions

    async def _count_open_sessions(self, numbers: Sequence[int]) -> None:
        """Read each log back from its position to where the current period of the quota of open sessions begins."""
        numbers = [n for n in numbers if any(self._partitions[n].positions.values())]
        level = self._config.alignment.isolation_level

        async def count(reader: AIOKafkaConsumer, number: int) -> None:
            for modality, tp in self._logs[number].items():
                await count_open_sessions(reader, tp, modality, self._partitions[number])

        await read_partitions(lambda: self._make_reader(level), numbers, count)

    def prepare_batch(
        self,
        group: AIOKafkaConsumer,
        fetched: Mapping[TopicPartition, list[ConsumerRecord]],
        positions: Mapping[TopicPartition, int],
    ) -> Batch:
        """Queue fetched records and return those that may be processed; pause logs that are too far ahead."""
        for tp, records in fetched.items():
            self._queues[tp.partition].add(self._config.topics.modality_of(tp.topic), records)
        batch: dict[int, ReleasedRecords] = {}
        self._lagging.clear()
        now_ms = int(time.time() * 1000)
        paused = group.paused()
        lag: dict[str, int] = dict.fromkeys(self._config.topics.media_all, 0)
        oldest_ms: dict[str, int] = {}
        for number, queue in self._queues.items():
            logs = self._logs[number]
            queue.set_positions({m: positions[tp] for m, tp in logs.items()})
            ends = {m: clients.readable_end(group, tp) for m, tp in logs.items()}
            released = queue.release(ends)
            if queue.has_more(ends):
                self._lagging.add(number)
            processed = self._partitions[number].positions
            next_offsets = queue.next_offsets()
            if released or next_offsets != processed:
                batch[number] = ReleasedRecords(released, next_offsets)
                for modality, first in dict(reversed(released)).items():
                    topic = logs[modality].topic
                    oldest_ms[topic] = min(first.timestamp, oldest_ms.get(topic, first.timestamp))
            for modality, tp in logs.items():
                # Records behind the beginning of an open transaction wait too.
                end = group.highwater(tp)
                lag[tp.topic] += max((end or 0) - processed[modality], 0)
                self._transactions.observe(tp, ends[modality], end, now_ms)
            full = queue.paused_modalities()
            group.pause(*(tp for m, tp in logs.items() if m in full and tp not in paused))
            group.resume(*(tp for m, tp in logs.items() if m not in full and tp in paused))
        for topic, since_ms in self._transactions.oldest_ms():
            oldest_ms[topic] = min(since_ms, oldest_ms.get(topic, since_ms))
        self._observer.on_lag(lag, oldest_ms)
        return batch

    def on_offsets_lost(self, lost: Mapping[TopicPartition, int]) -> None:
        """Count what was deleted before it was read."""
        for tp, count in lost.items():
            self._observer.on_lost(tp.partition, {self._config.topics.modality_of(tp.topic): count})

    async def process(self, group: AIOKafkaConsumer, batch: Batch) -> None:
        """Process a batch; on return all its effects are acknowledged. Raises KafkaError: the process must end then."""
        now_us = monotonic_us()
        effects: list[tuple[Partition, Effects]] = []
        failures: list[RecordError] = []
        for number, partition in self._partitions.items():
            if number not in batch and partition.next_deadline_us() > now_us:
                continue
            released, has_more = batch.get(number, NOTHING_RELEASED), number in self._lagging
            try:
                done = partition.process(released.records, now_us, positions=released.next_offsets, has_more=has_more)
            except RecordError as error:
                failures.append(error)
            else:
                effects.append((partition, done))
        await self._carry_out(effects)
        for failure in failures:
            await self._recover_without(group, failure)
        await self._write_idle_markers(group)
        self._observer.on_batch(monotonic_us() - now_us, self._partitions.values(), self._payloads.errors)

    async def flush(self) -> None:
        """Do nothing: `process` leaves nothing unfinished."""

    def next_deadline_us(self) -> int:
        """Return when (monotonic clock) something is due even without records."""
        return min((p.next_deadline_us() for p in self._partitions.values()), default=FOREVER_US)

    async def commit_offsets(self) -> dict[TopicPartition, int]:
        """Write the frontiers and generations that the offsets rely on, then return the offsets to commit. Raises KafkaError."""
        commits: dict[TopicPartition, int] = {}
        for number, partition in self._partitions.items():
            offsets = partition.commit_offsets(time.time_ns() // 1000)
            await self._emitter.publish_generations(partition)
            await self._emitter.publish_frontiers(partition, partition.due_frontiers(), self._nonce)
            commits |= {self._logs[number][modality]: offset for modality, offset in offsets.items()}
        return commits

    async def _recover_without(self, group: AIOKafkaConsumer, failure: RecordError) -> None:
        """Build a partition number anew from the topics, as after a restart, and reject the record on which it failed.

        The record may be applied in part; nothing of its batch was published.
        """
        number, cause = failure.number, failure.__cause__
        rejected = rejected_for(cause if isinstance(cause, Exception) else failure)
        self._failed[number][failure.modality, failure.offset] = rejected
        position = {"modality": failure.modality, "partition": number, "offset": failure.offset}
        at = traceback.extract_tb(cause.__traceback__)[-1] if cause is not None else None
        _log.error("processing failed on a record", extra={**position, "why": rejected.detail, "at": str(at)})
        positions = await self._recover(group, [number])
        # After a reassignment the partition may be another's; the consumer loop then adopts what is left.
        with suppress(IllegalStateError):
            for tp, offset in positions.items():
                group.seek(tp, offset)
            group.resume(*(tp for tp in positions if tp in group.paused()))

    async def _write_idle_markers(self, group: AIOKafkaConsumer) -> None:
        """Request the end offsets of logs with streams that may be idle, and write the idle records that they allow."""
        requested_mono_us = monotonic_us()
        partitions = [p for p in self._partitions.values() if p.needs_end_offsets(requested_mono_us)]
        if not partitions:
            return
        logs = [log for p in partitions for log in self._logs[p.number].values()]
        try:
            ends = await asyncio.wait_for(group.end_offsets(logs), ENDS_WITHIN_S)
        except (KafkaError, TimeoutError) as error:
            # Nothing is lost by a later idle record, and a topic that was deleted has no end: the consumer loop notices.
            _log.warning("the ends of the logs are not known: no idle records for now", extra={"why": repr(error)})
            return
        for partition in partitions:
            offsets = {m: ends[log] for m, log in self._logs[partition.number].items()}
            partition.set_end_offsets(EndOffsets(requested_mono_us, offsets))
        now_us = monotonic_us()
        await self._carry_out([(p, p.process((), now_us, has_more=p.number in self._lagging)) for p in partitions])

    async def _carry_out(self, batch: Sequence[tuple[Partition, Effects]]) -> None:
        await self._payloads.put([_cache_entry(a) for _, e in batch for a in e.payloads if not a.chunk.alive])
        await self._emitter.emit(batch)
        for _, effects in batch:
            self._observer.on_effects(effects)


async def count_open_sessions(
    reader: AIOKafkaConsumer, tp: TopicPartition, modality: str, partition: Partition
) -> None:
    """Count the open sessions of a log from where the current period begins up to the partition's position.

    Args:
        reader: A consumer without a group that sees the records that alignment sees; it is reassigned.
        tp: The log.
        modality: Its modality.
        partition: The partition, before it has processed a record.

    Raises:
        KafkaError: The broker fails.
    """
    begin = position = partition.positions[modality]
    oldest = (await reader.beginning_offsets([tp]))[tp]
    counted, offsets = partition.open_sessions[modality], READ_BACK_OFFSETS
    # The first of several periods may be read in part; the last one is complete.
    while counted.enabled and counted.periods < 2 and begin > oldest:
        begin = max(position - offsets, oldest)
        offsets *= 4
        counted.clear()
        async for record in read_range(reader, tp, begin, position):
            partition.count_earlier(modality, record)


def _cache_entry(admitted: AdmittedChunk) -> CacheEntry:
    # Unpacked rather than read by name: this runs once for each chunk.
    (session, modality, _, _, t_us, _, _, partition, offset, *_), content_type, body = admitted
    return CacheEntry(session, modality, t_us, partition, offset, content_type, body)
