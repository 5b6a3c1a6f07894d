"""Reading a part of one log once, without a consumer group."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

POLL_MS = 200


async def read_range(
    reader: AIOKafkaConsumer, tp: TopicPartition, begin: int | None = None, end: int | None = None
) -> AsyncIterator[ConsumerRecord]:
    """Yield the records of one partition from `begin` (the oldest kept) up to `end` (excluded; the end as it is now).

    reader: a consumer without a group; it is reassigned to this partition. Offsets that were deleted are passed over.
    Raises KafkaError.
    """
    oldest = (await reader.beginning_offsets([tp]))[tp]
    newest = (await reader.end_offsets([tp]))[tp]
    begin = oldest if begin is None else max(begin, oldest)
    end = newest if end is None else min(end, newest)
    if begin >= end:
        return
    reader.assign([tp])
    reader.seek(tp, begin)
    while await reader.position(tp) < end:
        for record in (await reader.getmany(tp, timeout_ms=POLL_MS)).get(tp, []):
            if record.offset >= end:
                return
            yield record
