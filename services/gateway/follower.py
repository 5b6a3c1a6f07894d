"""Follows the topics: everything that is said of sessions, from a little while ago on, without a consumer group."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from services.contract.record import Kept
from services.contract.tick import Seal
from services.contract.topics import Topics
from services.gateway import media_messages, messages
from services.gateway.archive_writer import Keeper
from services.gateway.event_stream import Ring
from services.gateway.messages import NotTold, Record, Told
from services.gateway.redaction import Hidden
from services.gateway.sessions import Rooms
from services.gateway.sources import Sources
from services.runtime.health import Progress
from services.runtime.metrics import GatewayMetrics

RECORDS_MAX = 500
POLL_MS = 100
AGAIN_S = 0.5
# A page shows what is new: further behind than this, the records between are passed over, and counted.
BEHIND_MAX = 20_000
_log = logging.getLogger(__name__)


class Follower:
    """Reads every partition of the topics, keeps what they tell in rooms and hands it to the ring."""

    def __init__(
        self,
        make_reader: Callable[[], AIOKafkaConsumer],
        topics: Topics,
        partition_count: int,
        rooms: Rooms,
        sources: Sources,
        ring: Ring,
        keeper: Keeper,
        hidden: Hidden,
        seal: Seal,
        metrics: GatewayMetrics,
        progress: Progress,
    ) -> None:
        self._make_reader, self._topics, self._metrics, self._progress = make_reader, topics, metrics, progress
        self._rooms, self._sources, self._ring, self._keeper = rooms, sources, ring, keeper
        self._hidden, self._seal = hidden, seal
        self._modality_of = {topics.media(m): m for m in topics.modalities}
        said = (topics.windows, topics.predictions, topics.events, topics.late, topics.dead)
        self._partitions = [
            TopicPartition(topic, n) for topic in (*topics.media_all, *said) for n in range(partition_count)
        ]

    async def run(self, look_back_s: int) -> None:
        """Follow until cancelled; a broker that is away is waited for."""
        while True:
            reader = self._make_reader()
            try:
                await reader.start()
                await self._begin(reader, int((time.time() - look_back_s) * 1000))
                self._progress.not_ready.clear()
                while True:
                    await self._turn(reader)
            except (KafkaError, OSError) as error:
                self._progress.not_ready["broker"] = "the topics cannot be read"
                _log.warning("the topics cannot be read: trying again", extra={"why": str(error)})
            finally:
                await reader.stop()
            self._progress.beat()
            await asyncio.sleep(AGAIN_S)

    async def _begin(self, reader: AIOKafkaConsumer, from_ms: int) -> None:
        reader.assign(self._partitions)
        found = await reader.offsets_for_times(dict.fromkeys(self._partitions, max(from_ms, 0)))
        ends = await reader.end_offsets(self._partitions)
        for tp in self._partitions:
            at = found.get(tp)
            reader.seek(tp, ends[tp] if at is None else max(at.offset, ends[tp] - BEHIND_MAX))

    async def _turn(self, reader: AIOKafkaConsumer) -> None:
        fetched = await reader.getmany(timeout_ms=POLL_MS, max_records=RECORDS_MAX)
        now_us = time.monotonic_ns() // 1000
        for tp, records in fetched.items():
            self._metrics.read.labels(tp.topic).inc(len(records))
            for record in records:
                self._take(tp.topic, _record(record), now_us)
            newest = reader.highwater(tp)
            if newest is not None and newest - records[-1].offset > BEHIND_MAX:
                self._metrics.skipped.labels(tp.topic).inc(newest - records[-1].offset - 1)
                reader.seek(tp, newest)
        if fetched:
            self._ring.wake()
        self._rooms.trim(now_us)
        self._keeper.settle(self._rooms.rooms, time.time_ns() // 1000)
        self._metrics.sessions.set(len(self._rooms.rooms))
        self._metrics.kept_bytes.set(self._rooms.bytes)
        self._progress.beat()

    def _take(self, topic: str, record: Record, now_us: int) -> None:
        try:
            for found in self._told(topic, record):
                one = self._hidden.shown(found, record.at_ms * 1000)
                if one is not None and self._rooms.put(one, now_us):
                    self._sources.put(one)
                    self._ring.put(one)
                    if one.kind == "event":
                        self._keeper.saw(_kept(topic, record), one, self._rooms.rooms.get(one.session))
        except NotTold:
            self._metrics.unread.labels(topic).inc()

    def _told(self, topic: str, record: Record) -> Iterable[Told]:
        topics = self._topics
        if topic in self._modality_of:
            ours = record.key is not None or self._seal.holds(
                topic, record.partition, record.headers, record.value or b""
            )
            return media_messages.media_message(self._modality_of[topic], record, ours)
        if topic == topics.dead:
            return (messages.dead(record, self._modality_of),)
        read = {
            topics.windows: messages.window,
            topics.predictions: messages.prediction,
            topics.events: messages.event,
            topics.late: messages.late,
        }
        return (read[topic](record),)


def _kept(topic: str, r: Record) -> Kept:
    return Kept(topic, r.partition, r.offset, r.at_ms, r.key, r.headers, r.value)


def _record(record: ConsumerRecord) -> Record:
    return Record(record.partition, record.offset, record.timestamp, record.key, record.headers, record.value)
