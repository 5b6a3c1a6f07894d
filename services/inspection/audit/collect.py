"""Collect the logs of a run from the broker; the only file of the audit that uses Kafka."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.contract.kafka_record import KafkaRecord
from services.contract.topics import Topics
from services.inspection.audit.ledger import PartitionLogs
from services.kafka.log_reader import read_range


async def collect_logs(reader: AIOKafkaConsumer, topics: Topics, partition_count: int) -> list[PartitionLogs]:
    """Read every record of the media, windows, late and dead-letter topics, by partition.

    Raises:
        KafkaError: The broker cannot be read.
    """
    out = []
    for number in range(partition_count):
        media = {m: await collect_partition(reader, topics.media(m), number) for m in topics.modalities}
        others = [
            await collect_partition(reader, topic, number) for topic in (topics.windows, topics.late, topics.dead)
        ]
        out.append(PartitionLogs(number, media, *others))
    return out


async def collect_topic(reader: AIOKafkaConsumer, topic: str, partition_count: int) -> list[KafkaRecord]:
    """Read every record of one topic."""
    return [raw for number in range(partition_count) for raw in await collect_partition(reader, topic, number)]


async def collect_partition(reader: AIOKafkaConsumer, topic: str, number: int) -> list[KafkaRecord]:
    """Read every record of one partition."""
    return [KafkaRecord.copy_of(r) async for r in read_range(reader, TopicPartition(topic, number))]


async def collect_since(
    reader: AIOKafkaConsumer, topic: str, number: int, from_ms: int, records_max: int
) -> list[KafkaRecord]:
    """Read the records of one partition from an append time on, at most the newest records_max."""
    tp = TopicPartition(topic, number)
    found = (await reader.offsets_for_times({tp: max(from_ms, 0)}))[tp]
    if found is None:
        return []
    end = (await reader.end_offsets([tp]))[tp]
    begin = max(found.offset, end - records_max)
    return [KafkaRecord.copy_of(r) async for r in read_range(reader, tp, begin, end)]
