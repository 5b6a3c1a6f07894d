"""Read whole topics without a consumer group: up to their present ends, or for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from services.kafka import clients
from services.runtime.health import Progress
from services.runtime.process import raise_if_cancelled

RECORDS_MAX, POLL_MS, RETRY_S = 500, 500, 0.5
Batch = Mapping[TopicPartition, list[ConsumerRecord]]
_log = logging.getLogger(__name__)


class TopicFollower:
    """A reader of all partitions of some topics; it commits nothing, so any number of processes can follow.

    Args:
        make_reader: Makes a consumer without a group.
        since_ms: For each topic the append time from which it is read; 0 reads from the beginning, None from the end.
        partition_count: The number of partitions of each topic.
        lag_max: Skip to the end of a partition that is more than this many records behind; None never skips.
        on_skip: Called with the topic and the number of offsets skipped, which is at most that of records.
    """

    def __init__(
        self,
        make_reader: Callable[[], AIOKafkaConsumer],
        since_ms: Mapping[str, int | None],
        partition_count: int,
        lag_max: int | None = None,
        on_skip: Callable[[str, int], object] = lambda topic, count: None,
    ) -> None:
        self._make_reader, self._lag_max, self._on_skip = make_reader, lag_max, on_skip
        self._since_ms = {TopicPartition(t, n): ms for t, ms in since_ms.items() for n in range(partition_count)}
        self._ends: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """Connect and move to the first record of each partition. Raises KafkaError."""
        self._reader = self._make_reader()  # a consumer that was stopped cannot start again
        try:
            await clients.start(self._reader)
            await self._seek()
        except BaseException:
            await self._reader.stop()
            raise

    async def stop(self) -> None:
        """Disconnect."""
        await self._reader.stop()

    async def __aenter__(self) -> TopicFollower:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def let_gather(self, linger_ms: int) -> None:
        """Let records gather for so long while few come."""
        self._reader.let_gather(linger_ms)

    async def poll(self, timeout_ms: int = POLL_MS) -> Batch:
        """Return the next records, none if nothing arrives within `timeout_ms`. Raises KafkaError."""
        fetched: Batch = await self._reader.getmany(timeout_ms=timeout_ms, max_records=RECORDS_MAX)
        if self._lag_max is not None:
            for tp in fetched:
                end, position = clients.readable_end(self._reader, tp), await self._reader.position(tp)
                if end is not None and end - position > self._lag_max:
                    self._reader.seek(tp, end)
                    self._on_skip(tp.topic, end - position)
        return fetched

    async def poll_to_end(self) -> AsyncIterator[Batch]:
        """Yield records until the ends that the topics had at `start` are reached. Raises KafkaError."""
        while behind := [tp for tp, end in self._ends.items() if await self._reader.position(tp) < end]:
            batch = await self.poll()
            if not batch:
                # A log that was truncated meanwhile does not reach its former end any more.
                ends = await self._reader.end_offsets(behind)
                self._ends |= {tp: min(self._ends[tp], ends[tp]) for tp in behind}
            yield batch

    async def _seek(self) -> None:
        reader, since_ms = self._reader, self._since_ms
        reader.assign(list(since_ms))
        # Ends come first: a record that is appended between the lookups is read rather than skipped.
        self._ends = await reader.end_offsets(list(since_ms))
        oldest = await reader.beginning_offsets([tp for tp, ms in since_ms.items() if ms == 0])
        dated = await reader.offsets_for_times({tp: ms for tp, ms in since_ms.items() if ms})
        for tp, end in self._ends.items():
            first = dated.get(tp)
            offset = oldest.get(tp, end) if first is None else first.offset
            reader.seek(tp, offset if self._lag_max is None else max(offset, end - self._lag_max))


async def follow(
    connect: Callable[[], AbstractAsyncContextManager[TopicFollower]],
    consume: Callable[[Batch], Awaitable[None]],
    progress: Progress,
) -> None:
    """Hand over batches, also empty ones, until cancelled; connect again whenever the broker cannot be reached."""
    while True:
        try:
            async with connect() as follower:
                for reason in ("start", "topics"):
                    progress.not_ready.pop(reason, None)
                while True:
                    await consume(await follower.poll())
                    progress.beat()
        except (KafkaError, OSError) as error:
            raise_if_cancelled()
            progress.not_ready["topics"] = "the topics cannot be read"
            _log.warning("The topics cannot be read; retrying.", extra={"why": str(error)})
        progress.beat()
        await asyncio.sleep(RETRY_S)
