"""What the intake makes of a commit that fails, and of a broker that is away when it starts."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from aiokafka import TopicPartition
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
    """Fails at the start and at commits as it is told, then does what it is asked."""

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

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        if self.commits:
            error = self.commits.pop(0)
            if error is None:
                await asyncio.Event().wait()
            else:
                raise error
        self.committed.append(offsets[TP])


class Work:
    """Its floor rises with each question; it says in which order it was asked."""

    def __init__(self) -> None:
        self.floor = 0
        self.asked: list[str] = []

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def finish(self) -> None:
        self.asked.append("finish")

    async def adopt(self, group: object, numbers: Sequence[int]) -> dict[TopicPartition, int]:
        self.asked.append("adopt")
        return {}

    async def floors(self) -> dict[TopicPartition, int]:
        self.asked.append("floors")
        self.floor += 1
        return {TP: self.floor}


def intake(consumer: Consumer, work: Work | None = None) -> ConsumerLoop:
    made = ConsumerLoop(lambda: consumer, ["t"], work or Work(), Progress(60), 1)  # type: ignore[arg-type]
    made.consumer, made._adopted = consumer, 0
    return made


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
async def test_a_commit_that_fails_for_a_while_is_made_up_for_by_the_next(error: KafkaError) -> None:
    consumer = Consumer(commits=[error])
    made = intake(consumer)
    await made._commit()
    assert consumer.committed == []
    await made._commit()
    assert consumer.committed == [2]


async def test_a_commit_that_gets_no_answer_holds_the_loop_up_for_a_limited_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "COMMIT_WITHIN_S", 0.01)
    consumer = Consumer(commits=[None])
    made = intake(consumer)
    await made._commit()
    await made._commit()
    assert consumer.committed == [2]


async def test_a_commit_of_a_former_owner_is_nothing_to_worry_about() -> None:
    consumer = Consumer(commits=[CommitFailedError()])
    await intake(consumer)._commit()
    assert consumer.committed == []


async def test_a_commit_that_can_never_work_ends_the_service() -> None:
    with pytest.raises(GroupAuthorizationFailedError):
        await intake(Consumer(commits=[GroupAuthorizationFailedError()]))._commit()


async def test_what_is_under_way_is_finished_before_other_partitions_are_adopted() -> None:
    work = Work()
    await intake(Consumer(), work)._adopt()
    assert work.asked == ["finish", "adopt"]


async def test_what_is_under_way_is_finished_before_the_last_commit() -> None:
    consumer, work = Consumer(), Work()
    made = intake(consumer, work)
    made._stopped.set()
    await made._run.fun(made)
    assert work.asked == ["finish", "floors"]
    assert consumer.committed == [1]


async def test_a_service_waits_for_its_broker_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BROKER_AGAIN_S", 0)
    said: list[bool] = []
    consumer, progress = Consumer(starts=[KafkaConnectionError(), KafkaConnectionError()]), Progress(60)

    def make() -> Consumer:
        said.append("broker" in progress.not_ready)
        return consumer

    made = ConsumerLoop(make, ["t"], Work(), progress, 1)  # type: ignore[arg-type]
    await made.on_start()
    assert consumer.stopped == 2
    assert said == [False, True, True]
    assert "broker" not in progress.not_ready


async def test_a_service_whose_broker_never_comes_ends_at_once_after_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BROKER_WITHIN_S", 0)
    consumer = Consumer(starts=[KafkaConnectionError()])
    made = ConsumerLoop(lambda: consumer, ["t"], Work(), Progress(60), 1)  # type: ignore[arg-type]
    with pytest.raises(KafkaConnectionError):
        await made.on_start()
    async with asyncio.timeout(DEADLINE_S):
        await made.on_stop()
    assert consumer.stopped == 1
