"""Reading topics without a group: where it begins, where it ends, and what it skips."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import ConsumerRecord, OffsetAndTimestamp

from services.kafka.follower import Batch, TopicFollower, follow
from services.runtime.health import Progress
from tests.waiting import DEADLINE_S


class Log:
    """A consumer over records in memory; offset n of a topic has the append time n * 100 ms."""

    def __init__(self, ends: Mapping[str, int]) -> None:
        self.ends = {TopicPartition(topic, 0): end for topic, end in ends.items()}
        self.positions: dict[TopicPartition, int] = {}
        self.running = False

    async def start(self) -> None:
        self.running = True

    async def stop(self) -> None:
        self.running = False

    def assign(self, partitions: Iterable[TopicPartition]) -> None:
        assert set(partitions) == set(self.ends)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.positions[tp] = offset

    async def position(self, tp: TopicPartition) -> int:
        return self.positions[tp]

    def last_stable_offset(self, tp: TopicPartition) -> int:
        return -1

    def highwater(self, tp: TopicPartition) -> int:
        return self.ends[tp]

    async def end_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: self.ends[tp] for tp in partitions}

    async def beginning_offsets(self, partitions: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    async def offsets_for_times(self, times: Mapping[TopicPartition, int]) -> dict[TopicPartition, Any]:
        return {
            tp: OffsetAndTimestamp(ms // 100, ms) if ms // 100 < self.ends[tp] else None for tp, ms in times.items()
        }

    async def getmany(self, timeout_ms: int, max_records: int) -> Batch:
        await asyncio.sleep(0)
        batch: dict[TopicPartition, list[ConsumerRecord]] = {}
        for tp, offset in self.positions.items():
            if offset < self.ends[tp]:
                record = ConsumerRecord(tp.topic, tp.partition, offset, offset * 100, 0, None, b"", 0, 0, 0, ())
                batch[tp], self.positions[tp] = [record], offset + 1
        return batch


def follower_of(log: Log, since_ms: Mapping[str, int | None], **options: Any) -> TopicFollower:
    return TopicFollower(lambda: cast(AIOKafkaConsumer, log), since_ms, 1, **options)


def test_a_topic_is_read_from_its_beginning_from_a_time_or_from_its_end_up_to_the_end_of_the_start() -> None:
    async def run() -> None:
        log = Log({"all": 4, "dated": 4, "older": 4, "new": 4})
        read: list[tuple[str, int]] = []
        async with follower_of(log, {"all": 0, "dated": 200, "older": 900, "new": None}) as follower:
            async for batch in follower.poll_to_end():
                read += [(r.topic, r.offset) for records in batch.values() for r in records]
                log.ends[TopicPartition("new", 0)] = 5
            assert sorted(set(read)) == [*[("all", n) for n in range(4)], ("dated", 2), ("dated", 3), ("new", 4)]
            log.ends[TopicPartition("older", 0)] = 5
            ((record,),) = (await follower.poll()).values()
            assert (record.topic, record.offset) == ("older", 4)
        assert not log.running

    asyncio.run(run())


def test_reading_to_the_end_of_a_log_that_is_truncated_meanwhile_ends_at_its_new_end() -> None:
    async def run() -> None:
        log = Log({"t": 4})
        async with follower_of(log, {"t": 0}) as follower:
            offsets = []
            async with asyncio.timeout(DEADLINE_S):
                async for batch in follower.poll_to_end():
                    offsets += [r.offset for records in batch.values() for r in records]
                    log.ends[TopicPartition("t", 0)] = 2
            assert offsets == [0, 1]

    asyncio.run(run())


def test_a_follower_that_is_too_far_behind_skips_to_the_end_and_reports_the_number_of_skipped_records() -> None:
    async def run() -> None:
        log, skipped = Log({"t": 100}), list[tuple[str, int]]()
        options = {"lag_max": 10, "on_skip": lambda topic, count: skipped.append((topic, count))}
        async with follower_of(log, {"t": 0}, **options) as follower:
            ((first,),) = (await follower.poll()).values()
            assert (first.offset, skipped) == (90, [])
            log.ends[TopicPartition("t", 0)] = 200
            await follower.poll()
            assert skipped == [("t", 200 - 91 - 1)]
            assert log.positions[TopicPartition("t", 0)] == 200

    asyncio.run(run())


def test_following_connects_again_after_a_failure_and_is_not_ready_meanwhile() -> None:
    async def run() -> None:
        progress, ready, again = Progress(60), list[dict[str, str]](), asyncio.Event()

        async def consume(batch: Batch) -> None:
            ready.append(dict(progress.not_ready))
            if len(ready) == 1:
                raise KafkaConnectionError("the broker is gone")
            again.set()

        task = asyncio.create_task(follow(lambda: follower_of(Log({"t": 1}), {"t": 0}), consume, progress))
        await asyncio.sleep(0.1)
        assert progress.not_ready == {"topics": "the topics cannot be read"}
        await asyncio.wait_for(again.wait(), 60)
        task.cancel()
        assert not any(ready)
        assert len(ready) > 1

    asyncio.run(run())


async def test_error_while_a_cancelled_follower_disconnects_does_not_keep_it_running() -> None:
    connected = asyncio.Event()

    @asynccontextmanager
    async def connect() -> AsyncIterator[TopicFollower]:
        try:
            connected.set()
            await asyncio.Event().wait()
            yield follower_of(Log({}), {})
        finally:
            raise TimeoutError

    async def consume(batch: Batch) -> None:
        pass

    following = asyncio.create_task(follow(connect, consume, Progress(60)))
    await connected.wait()
    following.cancel()
    await asyncio.wait([following], timeout=DEADLINE_S)
    assert following.cancelled()
