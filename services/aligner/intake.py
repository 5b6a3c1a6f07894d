"""Intake: reads the media topics in step, hands batches to the agent, commits floors. The only consumer there is.

Faust's own consumer acknowledges what crashed and skips gaps; this one commits nothing but the floors that the agent
answers with, after every output of the batch was acknowledged.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from aiokafka.structs import ConsumerRecord
from mode import Service

from services.aligner.instep import InStep
from services.aligner.worker import Batch, Worker
from services.contract.topics import Topics
from services.runtime.monotonic import monotonic_us

COMMIT_EVERY_US = 500_000
RECORDS_PER_POLL_MAX = 2_000
QUEUE_RECORDS_MAX = 5_000
QUEUE_BYTES_MAX = 64 * 1024 * 1024
POLL_MS_MAX = 100


class Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """Counts assignments; aiokafka swallows what a listener raises, so it does nothing else."""

    def __init__(self) -> None:
        self.number = 0

    def on_partitions_revoked(self, revoked: object) -> None:
        self.number += 1

    def on_partitions_assigned(self, assigned: object) -> None:
        self.number += 1


class Intake(Service):
    """Owns the group's consumer; batches go through the channel, one at a time."""

    def __init__(
        self,
        consumer: AIOKafkaConsumer,
        topics: Topics,
        worker: Worker,
        batches: Any,
        skew_ms: int,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._consumer, self._topics, self._worker, self._batches = consumer, topics, worker, batches
        self._skew_ms = skew_ms
        self._assignment = Assignment()
        self._adopted = -1
        self._queues: dict[int, InStep] = {}
        self._committed: dict[TopicPartition, int] = {}
        self._commit_us = 0

    async def on_start(self) -> None:
        self._consumer.subscribe(list(self._topics.media_all), listener=self._assignment)
        await self._consumer.start()
        await self._worker.start()

    async def on_stop(self) -> None:
        await self._worker.stop()
        await self._consumer.stop()

    @Service.task
    async def _run(self) -> None:
        try:
            while not self.should_stop:
                await self._turn()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            await self.crash(error)
            raise
        if self._adopted == self._assignment.number:
            await self._commit(await self._worker.covered_floors())

    async def _turn(self) -> None:
        if self._adopted != self._assignment.number:
            await self._adopt()
        due_ms = (self._worker.next_us() - monotonic_us()) // 1000
        fetched = await self._consumer.getmany(
            timeout_ms=max(1, min(due_ms, POLL_MS_MAX)), max_records=RECORDS_PER_POLL_MAX
        )
        if self._adopted != self._assignment.number:
            return  # these records may be another owner's by now; the next turn seeks to the floors
        batch = self._in_step(fetched)
        if batch or self._worker.next_us() <= monotonic_us():
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            await self._batches.put((done, batch))
            await done
        if monotonic_us() >= self._commit_us and self._adopted == self._assignment.number:
            await self._commit(await self._worker.covered_floors())
            self._commit_us = monotonic_us() + COMMIT_EVERY_US

    async def _adopt(self) -> None:
        number = self._assignment.number
        assigned = sorted({tp.partition for tp in self._consumer.assignment()})
        positions = await self._worker.adopt(self._consumer, assigned)
        if number != self._assignment.number:
            return
        for tp, offset in positions.items():
            self._consumer.seek(tp, offset)
        self._consumer.resume(*self._consumer.paused())
        self._queues = {
            n: InStep(
                {m: positions[TopicPartition(self._topics.media(m), n)] for m in self._topics.modalities},
                self._skew_ms,
                QUEUE_RECORDS_MAX,
                QUEUE_BYTES_MAX,
            )
            for n in assigned
        }
        self._committed = dict(positions)
        self._adopted = number

    def _in_step(self, fetched: Mapping[TopicPartition, list[ConsumerRecord]]) -> Batch:
        for tp, records in fetched.items():
            self._queues[tp.partition].add(self._topics.modality_of(tp.topic), records)
        batch: Batch = {}
        for number, queue in self._queues.items():
            partitions = {m: TopicPartition(self._topics.media(m), number) for m in self._topics.modalities}
            if released := queue.release({m: self._consumer.highwater(tp) for m, tp in partitions.items()}):
                batch[number] = released
            full = queue.full()
            paused = self._consumer.paused()
            for modality, tp in partitions.items():
                if modality in full and tp not in paused:
                    self._consumer.pause(tp)
                elif modality not in full and tp in paused:
                    self._consumer.resume(tp)
        return batch

    async def _commit(self, floors: Mapping[TopicPartition, int]) -> None:
        moved = {tp: floor for tp, floor in floors.items() if floor > self._committed.get(tp, -1)}
        if not moved:
            return
        try:
            await self._consumer.commit(moved)
        except (CommitFailedError, IllegalStateError):
            return  # the partitions have a new owner: it reads again from the old floors
        self._committed.update(moved)
