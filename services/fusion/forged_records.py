"""Dead letters for records in the topics of services that no service signed, or that cannot be read.

Every reader passes over them. The fusion worker that owns a partition number reports them, so that each has one dead letter.
Windows are reported where they are predicted, and idle records where they are aligned.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from services.contract.dead_letter import DeadLetter, Reason, Rejected, UnreadableRecord, make_dead_letter
from services.contract.kafka_record import RecordPosition
from services.contract.signature import Signer
from services.contract.topics import Topics
from services.kafka import clients, dead_letters

# Rounds are seconds apart, so that what this worker itself publishes costs one fetch a round. A chunk of records is
# verified in about a millisecond, which is as long as the worker's event loop waits.
ROUND_S, RECORDS_MAX, RETRY_S = 2.0, 100, 5.0
_log = logging.getLogger(__name__)


class ForgedRecordReporter:
    """Reads the signed topics of the owned partition numbers in the background, and reports what no service signed.

    Its offsets are committed after the dead letters; a crash between the two repeats those of one round.

    Args:
        topics: The names of the topics.
        signer: Verifies the records; without a secret nothing is read.
        make_consumer: Makes a consumer whose partitions are assigned by hand, and that can commit.
        open_producer: Opens a producer, for the time of one round.
    """

    def __init__(
        self,
        topics: Topics,
        signer: Signer,
        make_consumer: Callable[[], AIOKafkaConsumer],
        open_producer: Callable[[], AbstractAsyncContextManager[AIOKafkaProducer]],
    ) -> None:
        self._topics, self._signer = topics, signer
        self._make_consumer, self._open_producer = make_consumer, open_producer
        self._task: asyncio.Task[None] | None = None

    async def assign(self, numbers: Sequence[int]) -> None:
        """Read these partition numbers from now on, and no others."""
        await self.stop()
        if numbers and self._signer.secrets:
            self._task = asyncio.create_task(self._run(numbers))

    async def stop(self) -> None:
        """Read nothing. Raises what reading raised, other than KafkaError."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def _run(self, numbers: Sequence[int]) -> None:
        while True:
            try:
                await self._report(numbers)
            except (KafkaError, OSError) as error:
                _log.warning("topics cannot be searched for forged records; retrying", extra={"why": repr(error)})
            await asyncio.sleep(RETRY_S)

    async def _report(self, numbers: Sequence[int]) -> None:
        topics, consumer = self._topics, self._make_consumer()
        names = (topics.frontier, topics.control, topics.predictions, topics.events, topics.late, topics.dead)
        logs = [TopicPartition(name, number) for name in names for number in numbers]
        try:
            await clients.start(consumer)
            consumer.assign(logs)
            ends = await consumer.end_offsets(logs)
            for tp in logs:
                # What was there before the first start was skipped and counted by its readers.
                if await consumer.committed(tp) is None:
                    consumer.seek(tp, ends[tp])
            committed: dict[TopicPartition, int] = {}
            while True:
                while fetched := await consumer.getmany(max_records=RECORDS_MAX):
                    await self._publish([record for records in fetched.values() for record in records])
                positions = {tp: await consumer.position(tp) for tp in logs}
                if moved := {tp: offset for tp, offset in positions.items() if offset != committed.get(tp)}:
                    await consumer.commit(moved)
                    committed = positions
                await asyncio.sleep(ROUND_S)
        finally:
            await consumer.stop()

    async def _publish(self, records: Sequence[ConsumerRecord]) -> None:
        by_number: dict[int, list[tuple[bytes | None, DeadLetter]]] = {}
        for record, rejected in self._rejected(records):
            position = RecordPosition(record.topic, record.partition, record.offset)
            letter = make_dead_letter(position, "fusion", rejected, record.value, record.headers)
            # The key of a frontier has more than the session.
            key = None if record.key is None else record.key.partition(b"\0")[0]
            by_number.setdefault(record.partition, []).append((key, letter))
        if by_number:
            _log.error("records in the topics of services are rejected", extra={"first": str(letter.position)})
            async with self._open_producer() as producer:
                for number, letters in by_number.items():
                    await dead_letters.publish_all(producer, self._topics.dead, number, letters)

    def _rejected(self, records: Sequence[ConsumerRecord]) -> Iterator[tuple[ConsumerRecord, Rejected]]:
        for record in records:
            if isinstance(record, UnreadableRecord):
                yield record, record.rejected
            elif self._signer.is_forged(record):
                yield record, Rejected(Reason.FORGED, "no service signed it for this place")
