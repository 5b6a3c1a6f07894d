"""Transactions beside the plain records: every other one is aborted, and some are interrupted by the faults."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from services.contract.partitioner import partition_of
from services.contract.topics import Topics
from tests.torture.media import Media, OutgoingRecord

EVERY_S = 2.0
RECORDS = 3
WITHIN_S = 30.0
ID = "torture"


class TransactionSender:
    """Sends a transaction every two seconds. One that fails is given up: the next producer of the same id aborts it."""

    def __init__(self, servers: str, topics: Topics, partition_count: int, media: Media) -> None:
        self._servers, self._topics, self._count, self._media = servers, topics, partition_count, media
        self._producer: AIOKafkaProducer | None = None
        self.committed = self.aborted = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set; then leave no transaction open."""
        while not stop.is_set():
            abort = self.aborted < self.committed
            records = [self._media.record_in_transaction(round(time.time() * 1e6), abort) for _ in range(RECORDS)]
            if await self._send(records, abort):
                self.aborted += abort
                self.committed += not abort
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), EVERY_S)
        while not await self._send([], abort=True):
            await asyncio.sleep(EVERY_S)
        await self._drop()

    async def _send(self, records: list[OutgoingRecord], abort: bool) -> bool:
        try:
            async with asyncio.timeout(WITHIN_S):
                if self._producer is None:
                    self._producer = AIOKafkaProducer(bootstrap_servers=self._servers, transactional_id=ID)
                    await self._producer.start()
                await self._producer.begin_transaction()
                for record in records:
                    key = record.session.encode()
                    await self._producer.send_and_wait(
                        self._topics.media(record.modality),
                        record.value,
                        key=key,
                        partition=partition_of(key, self._count),
                        headers=list(record.headers),
                    )
                await (self._producer.abort_transaction() if abort else self._producer.commit_transaction())
        except (KafkaError, TimeoutError):
            await self._drop()
            return False
        return True

    async def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            # It sends again for ever: a new producer of the same id fences it.
            with suppress(KafkaError, TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await producer.stop()
