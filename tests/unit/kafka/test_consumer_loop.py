"""The consumer loop: failing commits, and a broker that is unreachable at the start."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka import TopicPartition, errors
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    KafkaConnectionError,
    KafkaError,
    NotCoordinatorForGroupError,
    RequestTimedOutError,
)

from services.kafka import consumer_loop as module
from services.kafka.consumer_loop import ConsumerLoop
from services.runtime.health import Progress
from tests.waiting import DEADLINE_S

TP = TopicPartition("t", 0)


class Consumer:
    """A consumer that raises the given errors at the start and at commits, then succeeds."""

    def __init__(self, starts: list[KafkaError] | None = None, commits: list[KafkaError | None] | None = None) -> None:
        self.starts, self.commits = starts or [], commits or []
        self.committed: list[int] = []
        self.stopped = 0

    def subscribe(self, topics: list[str], listener: object) -> None:
        pass

    async def start(self) -> None:
        if self.starts:
            raise self.starts.pop(0)

    async def stop(self) -> None:
        self.stopped += 1

    def assignment(self) -> set[TopicPartition]:
        return {TP}

    def paused(self) -> set[TopicPartition]:
        return set()

    def resume(self, *partitions: TopicPartition) -> None:
        pass

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {0}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.commits:
            error = self.commits.pop(0)
            if error is None:
                await asyncio.Event().wait()
            else:
                raise error
        self.committed.append(offsets[TP])


class Work:
    """Work whose commit offset rises with each call; it records the order of calls."""

    def __init__(self) -> None:
        self.offset = 0
        self.calls: list[str] = []

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def flush(self) -> None:
        self.calls.append("flush")

    async def on_assigned(self, group: object, numbers: Sequence[int]) -> dict[TopicPartition, int]:
        self.calls.append("on_assigned")
        return {}

    async def commit_offsets(self) -> dict[TopicPartition, int]:
        self.calls.append("commit_offsets")
        self.offset += 1
        return {TP: self.offset}


def make_loop(consumer: Consumer, work: Work | None = None) -> ConsumerLoop:
    loop = ConsumerLoop(lambda: consumer, ["t"], work or Work(), Progress(60), 1, 1)  # type: ignore[arg-type]
    loop.consumer, loop._adopted = consumer, 0
    return loop


@pytest.mark.parametrize(
    "error",
    [
        KafkaConnectionError(),
        RequestTimedOutError(),
        GroupCoordinatorNotAvailableError(),
        NotCoordinatorForGroupError(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_next_commit_follows_one_that_failed_for_a_while(error: KafkaError) -> None:
    consumer = Consumer(commits=[error])
    loop = make_loop(consumer)
    await loop._commit()
    assert consumer.committed == []
    await loop._commit()
    assert consumer.committed == [2]


async def test_commit_without_reply_blocks_the_loop_for_a_limited_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "COMMIT_WITHIN_S", 0.01)
    consumer = Consumer(commits=[None])
    loop = make_loop(consumer)
    await loop._commit()
    await loop._commit()
    assert consumer.committed == [2]


async def test_commit_of_a_former_owner_is_ignored() -> None:
    consumer = Consumer(commits=[CommitFailedError()])
    await make_loop(consumer)._commit()
    assert consumer.committed == []


async def test_commit_that_can_never_succeed_ends_the_service() -> None:
    with pytest.raises(GroupAuthorizationFailedError):
        await make_loop(Consumer(commits=[GroupAuthorizationFailedError()]))._commit()


async def test_outputs_are_flushed_before_new_partitions_are_assigned() -> None:
    work = Work()
    await make_loop(Consumer(), work)._adopt()
    assert work.calls == ["flush", "on_assigned"]


async def test_outputs_are_flushed_before_the_last_commit() -> None:
    consumer, work = Consumer(), Work()
    loop = make_loop(consumer, work)
    loop._stopped.set()
    await loop._run.fun(loop)
    assert work.calls == ["flush", "commit_offsets"]
    assert consumer.committed == [1]


async def test_service_waits_for_its_broker_and_is_not_ready_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BROKER_AGAIN_S", 0)
    waiting: list[bool] = []
    consumer, progress = Consumer(starts=[KafkaConnectionError(), KafkaConnectionError()]), Progress(60)

    def make() -> Consumer:
        waiting.append("broker" in progress.not_ready)
        return consumer

    loop = ConsumerLoop(make, ["t"], Work(), progress, 1, 1)  # type: ignore[arg-type]
    await loop.on_start()
    assert consumer.stopped == 2
    assert waiting == [False, True, True]
    assert "broker" not in progress.not_ready


async def test_service_ends_after_the_wait_if_its_broker_stays_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BROKER_WITHIN_S", 0)
    consumer = Consumer(starts=[KafkaConnectionError()])
    loop = ConsumerLoop(lambda: consumer, ["t"], Work(), Progress(60), 1, 1)  # type: ignore[arg-type]
    with pytest.raises(KafkaConnectionError):
        await loop.on_start()
    async with asyncio.timeout(DEADLINE_S):
        await loop.on_stop()
    assert consumer.stopped == 1


class Group(Consumer):
    """A consumer of one record that raises the given errors first, one for each poll."""

    def __init__(self, failures: list[KafkaError]) -> None:
        super().__init__()
        self.failures = failures

    async def getmany(self, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[str]]:
        if self.failures:
            raise self.failures.pop(0)
        return {TP: ["record"]}

    async def position(self, tp: TopicPartition) -> int:
        return 1

    def seek(self, tp: TopicPartition, offset: int) -> None:
        pass


class Batching(Work):
    """Work that raises the given errors, one for each batch, then ends the loop with the first batch that succeeds."""

    def __init__(self, failures: list[KafkaError]) -> None:
        super().__init__()
        self.failures = failures
        self.loop: ConsumerLoop

    async def reset(self) -> None:
        self.calls.append("reset")

    def next_deadline_us(self) -> int:
        return 1 << 62

    def prepare_batch(self, group: object, fetched: object, positions: object) -> object:
        return fetched

    async def put(self, item: tuple[asyncio.Future[None], object]) -> None:
        done, _ = item
        if self.failures:
            done.set_exception(self.failures.pop(0))
            return
        self.calls.append("process")
        self.loop._stopped.set()
        done.set_result(None)


PASSING = [
    CommitFailedError(),
    errors.UnknownMemberIdError(),
    errors.IllegalGenerationError(),
    errors.RebalanceInProgressError(),
    KafkaConnectionError(),
    NotCoordinatorForGroupError(),
    errors.GroupLoadInProgressError(),
    errors.KafkaTimeoutError(),
    RequestTimedOutError(),
    errors.NotLeaderForPartitionError(),
    errors.OutOfOrderSequenceNumber(),
    errors.ProducerFenced(),
    errors.IllegalStateError(),
    KafkaError("Unexpected error during coordination"),
]


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["poll", "batch"])
async def test_failure_of_the_group_or_of_a_send_is_survived_by_joining_and_reading_again(
    where: str, error: KafkaError, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BROKER_AGAIN_S", 0)
    in_poll, in_batch = ([error, error], []) if where == "poll" else ([], [error, error])
    consumer, work, progress = Group(in_poll), Batching(in_batch), Progress(60)
    loop = ConsumerLoop(lambda: consumer, ["t"], work, progress, 1, 1)  # type: ignore[arg-type]
    loop.consumer, loop.batches, work.loop = consumer, work, loop
    async with asyncio.timeout(DEADLINE_S):
        await loop._run.fun(loop)
    assert work.calls.count("reset") == 2
    assert work.calls.count("on_assigned") == 3
    assert work.calls.count("process") == 1
    assert consumer.stopped == 2
    assert "group" not in progress.not_ready


async def test_missing_permission_ends_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    consumer, work = Group([GroupAuthorizationFailedError("g")]), Batching([])
    loop = ConsumerLoop(lambda: consumer, ["t"], work, Progress(60), 1, 1)  # type: ignore[arg-type]
    loop.consumer, loop.batches, work.loop = consumer, work, loop
    with pytest.raises(GroupAuthorizationFailedError):
        await loop._run.fun(loop)
    assert "reset" not in work.calls


class DeletedLog(Group):
    """A group's consumer of a log that begins at offset 7 and holds records from there on."""

    def __init__(self, out_of_range: int) -> None:
        super().__init__([errors.OffsetOutOfRangeError({TP: out_of_range})])
        self.sought: list[int] = []

    async def beginning_offsets(self, logs: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(logs, 7)

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self.sought.append(offset)


class Counting(Batching):
    """Work that records how many offsets it lost."""

    def __init__(self) -> None:
        super().__init__([])
        self.lost: list[int] = []

    def on_offsets_lost(self, lost: dict[TopicPartition, int]) -> None:
        self.lost.append(lost[TP])


async def run_once(consumer: DeletedLog, work: Counting, progress: Progress) -> None:
    """Run the loop up to the first batch."""
    loop = ConsumerLoop(lambda: consumer, ["t"], work, progress, 1, 1)  # type: ignore[arg-type]
    loop.consumer, loop.batches, work.loop = consumer, work, loop
    async with asyncio.timeout(DEADLINE_S):
        await loop._run.fun(loop)


async def test_deleted_offsets_are_counted_and_the_oldest_record_that_is_left_is_next() -> None:
    consumer, work = DeletedLog(out_of_range=4), Counting()
    await run_once(consumer, work, Progress(60))
    assert (consumer.sought, work.lost) == ([7], [3])
    assert work.calls.count("on_assigned") == 1, "open windows are kept"
    assert work.calls.count("process") == 1


async def test_log_that_ends_before_the_offset_to_read_next_is_positioned_as_after_an_assignment() -> None:
    consumer, work = DeletedLog(out_of_range=9), Counting()
    await run_once(consumer, work, Progress(60))
    assert (consumer.sought, work.lost) == ([], [])
    assert work.calls.count("on_assigned") == 2
    assert work.calls.count("process") == 1


async def test_service_whose_topic_has_more_partitions_than_it_reads_is_not_ready_and_goes_on() -> None:
    consumer, work, progress = DeletedLog(out_of_range=4), Counting(), Progress(60)
    consumer.partitions_for_topic = lambda topic: {0, 1}  # type: ignore[method-assign]
    await run_once(consumer, work, progress)
    assert work.calls.count("process") == 1
    assert progress.not_ready["topics"].startswith("t has 2 partitions; 1 of each are read")


def test_partitions_that_are_added_without_a_rebalance_are_noticed_once_the_change_has_stood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    consumer, progress, now_us = DeletedLog(out_of_range=4), Progress(60), [1_000]
    monkeypatch.setattr(module, "monotonic_us", lambda: now_us[0])
    loop = ConsumerLoop(lambda: consumer, ["t"], Counting(), progress, 1, 1)  # type: ignore[arg-type]
    loop.consumer, progress.not_ready = consumer, {}

    def check(count: int, after_us: int) -> bool:
        consumer.partitions_for_topic = lambda topic: set(range(count))  # type: ignore[method-assign]
        now_us[0] += after_us
        loop._check_topics()
        return "topics" in progress.not_ready

    assert not check(1, 10)
    assert not check(2, 10), "a broker that has just started may know less for a moment"
    assert not check(1, module.TOPICS_CHANGED_US)
    assert not check(2, 10)
    assert check(2, module.TOPICS_CHANGED_US)
    assert progress.not_ready["topics"].startswith("t has 2 partitions; 1 of each are read")
    assert check(1, 10)
    assert not check(1, module.TOPICS_CHANGED_US)


async def test_commits_wait_for_half_a_second_of_work_or_a_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now_us = 10 * module.COMMIT_AT_LEAST_EVERY_US
    monkeypatch.setattr(module, "monotonic_us", lambda: now_us)

    class Working(Batching):
        """Work of which each batch takes a while."""

        took_us = 0

        async def put(self, item: tuple[asyncio.Future[None], object]) -> None:
            nonlocal now_us
            now_us += self.took_us
            await super().put(item)

    consumer, work = Group([]), Working([])
    loop = ConsumerLoop(lambda: consumer, ["t"], work, Progress(60), 1, 1)  # type: ignore[arg-type]
    loop.consumer, loop.batches, work.loop = consumer, work, loop
    await loop._turn()
    assert consumer.committed == [1], "the first turn after an assignment commits"
    work.took_us = module.COMMIT_WORK_US // 2
    await loop._turn()
    assert consumer.committed == [1]
    await loop._turn()
    assert consumer.committed == [1, 2], "a restart would repeat much work"
    work.took_us = 0
    now_us += module.COMMIT_EVERY_US
    await loop._turn()
    assert consumer.committed == [1, 2]
    now_us += module.COMMIT_AT_LEAST_EVERY_US
    await loop._turn()
    assert consumer.committed == [1, 2, 3], "the last commit is a few seconds ago"
