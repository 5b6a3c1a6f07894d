"""The sender process: records at a steady rate, a forged one every second, and a transaction every two seconds, until SIGTERM.

Records that are due during an outage of the broker are sent after it, and unacknowledged records are sent again.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from services.contract.dead_letter import Reason
from services.contract.partitioner import partition_of
from services.contract.topics import Topics
from tests.torture.forgeries import DEAD_LETTERED, Forger
from tests.torture.media import MARK, WAITS, Media, OutgoingRecord
from tests.torture.transactions import RECORDS, TransactionSender

METADATA_AGE_MS = 1_000  # how soon a device notices partitions that were added
TURN_S = 0.01
BATCH_BYTES_MAX = 1024 * 1024
AGAIN_S = 0.2


class Sender:
    """Sends records and retries each until the broker has acknowledged it."""

    def __init__(self, servers: str, prefix: str, partition_count: int) -> None:
        self._servers, self._topics, self._count = servers, Topics(prefix), partition_count
        self._producer: AIOKafkaProducer | None = None
        self._failed: list[OutgoingRecord] = []
        self._waiting: set[asyncio.Task[None]] = set()
        self.acknowledged = self.again = self.forged = 0
        self._forger = Forger(self._topics, partition_count)

    async def send(self, sendings: Sequence[OutgoingRecord]) -> None:
        """Send records and earlier failures, with a new producer if the old one gave up."""
        due = [*self._failed, *sendings]
        if self._failed:
            self.again += len(self._failed)
            self._failed = []
            await self._drop()
        for n, one in enumerate(due):
            try:
                await self._one(one)
            except KafkaError:
                self._failed += due[n:]
                return

    async def forge(self, session: str, now_us: int) -> None:
        """Send the next forged record, and not again if that fails."""
        forged = self._forger.next_record(session, now_us)
        if self._producer is None:
            return
        try:
            headers = list(forged.headers)
            await self._producer.send_and_wait(
                forged.topic, forged.value, key=forged.key, partition=forged.partition, headers=headers
            )
        except KafkaError:
            return
        self.forged += forged.kind in DEAD_LETTERED

    async def reach_added_partitions(self, media: Media, now_us: int) -> None:
        """Send a record into an added partition of each topic that has some; the others reach them by chance only."""
        await self._drop()  # a new producer knows the partitions that there are now
        for modality in self._topics.modalities:
            count = await self._partition_count(self._topics.media(modality))
            if count > self._count:
                names = (f"session {n} of an added partition" for n in itertools.count())
                session = next(name for name in names if partition_of(name.encode(), count) >= self._count)
                await self.send([media.record_by_topic(session, modality, now_us)])

    async def _partition_count(self, topic: str) -> int:
        while True:
            if self._producer is None:
                self._producer = await self._open()
            try:
                return len(await self._producer.partitions_for(topic))
            except KafkaError:
                await asyncio.sleep(AGAIN_S)

    async def flush(self) -> None:
        """Wait until every record is acknowledged."""
        while self._waiting or self._failed:
            if self._waiting:
                await asyncio.wait(self._waiting)
            await self.send(())
        await self._drop()

    async def _one(self, one: OutgoingRecord) -> None:
        if self._producer is None:
            self._producer = await self._open()
        topic, key, headers = self._topics.media(one.modality), one.session.encode(), list(one.headers)
        number = right = partition_of(key, self._count)
        if one.wrong_partition:
            number = (number + 1) % self._count
        elif one.by_topic:
            number = partition_of(key, len(await self._producer.partitions_for(topic)))
            if number >= self._count:
                headers.append((WAITS, b"1"))
            elif number != right:
                headers.append((MARK, Reason.PARTITION.encode()))
        acknowledgement = await self._producer.send(topic, one.value, key=key, partition=number, headers=headers)
        task = asyncio.create_task(self._await_acknowledgement(one, acknowledgement))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _await_acknowledgement(self, one: OutgoingRecord, acknowledgement: asyncio.Future[object]) -> None:
        try:
            await acknowledgement
            self.acknowledged += 1
        except KafkaError:
            self._failed.append(one)

    async def _open(self) -> AIOKafkaProducer:
        while True:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._servers,
                acks="all",
                enable_idempotence=True,
                linger_ms=5,
                max_batch_size=BATCH_BYTES_MAX,
                metadata_max_age_ms=METADATA_AGE_MS,
            )
            try:
                await producer.start()
            except KafkaError:
                await producer.stop()
                await asyncio.sleep(AGAIN_S)
            else:
                return producer

    async def _drop(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()


async def main(servers: str, prefix: str, partition_count: int, seed: int, per_s: int, report: Path) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    sender, media = Sender(servers, prefix, partition_count), Media(seed, per_s)
    transactions = TransactionSender(servers, Topics(prefix), partition_count, media)
    sending = asyncio.create_task(transactions.run(stop))
    begin, sent, forged = time.time(), 0, 0
    while not stop.is_set():
        due = int((time.time() - begin) * per_s) - sent
        at_us = [round((begin + (sent + n) / per_s) * 1e6) for n in range(due)]
        sent += due
        await sender.send([one for t_us in at_us for one in media.records_at(t_us)])
        if time.time() - begin > forged + 1:
            forged += 1
            await sender.forge(media.live_session(), round(time.time() * 1e6))
        await asyncio.sleep(TURN_S)
    await sender.send(media.ends(round(time.time() * 1e6)))
    await sender.reach_added_partitions(media, round(time.time() * 1e6))
    await sender.flush()
    await sending
    counts = {
        "acknowledged": sender.acknowledged + RECORDS * transactions.committed,
        "again": sender.again,
        "forged": sender.forged,
        "aborted": transactions.aborted,
    }
    report.write_text(json.dumps(counts))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]), Path(sys.argv[6])))
