"""Read a part of one log once, without a consumer group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

POLL_MS = 200
READERS_MAX = 8
T = TypeVar("T")


async def read_range(
    reader: AIOKafkaConsumer, tp: TopicPartition, begin: int | None = None, end: int | None = None
) -> AsyncIterator[ConsumerRecord]:
    """Yield the records of one partition from `begin` (the oldest retained) up to `end` (excluded; the end as it is now).

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
        records = (await reader.getmany(tp, timeout_ms=POLL_MS)).get(tp, [])
        for record in records:
            if record.offset >= end:
                return
            yield record
        if not records:
            # A log that was truncated meanwhile does not reach its former end any more.
            end = min(end, (await reader.end_offsets([tp]))[tp])


async def read_newest(
    reader: AIOKafkaConsumer, tp: TopicPartition, count: int, within: int | None = None
) -> list[ConsumerRecord]:
    """Return the newest `count` records of one partition, oldest first, or fewer if there are no more.

    Markers of transactions and deleted records take offsets too, so it looks further back until it has enough; not
    further than `within` offsets, if that is given. Raises KafkaError.
    """
    oldest = (await reader.beginning_offsets([tp]))[tp]
    newest = (await reader.end_offsets([tp]))[tp]
    if within is not None:
        oldest = max(oldest, newest - within)
    offsets = count
    while True:
        begin = max(newest - offsets, oldest)
        records = [record async for record in read_range(reader, tp, begin, newest)]
        if len(records) >= count or begin <= oldest:
            return records[-count:]
        offsets *= 4


async def read_partitions(
    make_reader: Callable[[], AIOKafkaConsumer],
    numbers: Sequence[int],
    read: Callable[[AIOKafkaConsumer, int], Awaitable[T]],
) -> list[T]:
    """Read something of each partition number, each with a reader of its own, a few at a time; in order.

    One after the other they take six seconds for eight numbers: each change of assignment waits for a fetch.
    """
    gate = asyncio.Semaphore(READERS_MAX)

    async def one(number: int) -> T:
        async with gate:
            reader = make_reader()
            await reader.start()
            try:
                return await read(reader, number)
            finally:
                await reader.stop()

    return await asyncio.gather(*(one(number) for number in numbers))
