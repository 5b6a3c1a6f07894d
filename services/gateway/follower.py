"""Follows the topics: everything that is said of sessions, from a little while ago on, without a consumer group."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from aiokafka import AIOKafkaConsumer

from services.contract.record import KafkaRecord
from services.contract.tick import Seal
from services.contract.topics import Topics
from services.gateway import media_messages, messages
from services.gateway.archive_writer import EventArchiver
from services.gateway.event_stream import EventStream
from services.gateway.messages import InvalidRecord, PageMessage
from services.gateway.redaction import Redactor
from services.gateway.sessions import SessionStore
from services.gateway.sources import SourceStore
from services.kafka.follower import Batch, TopicFollower, follow
from services.runtime.health import Progress
from services.runtime.metrics import GatewayMetrics

# The page shows what is new: a follower that is further behind skips records, and counts them.
LAG_MAX = 20_000


class GatewayFollower:
    """Reads every partition of the topics, keeps what they tell in rooms and hands it to the ring."""

    def __init__(
        self,
        make_reader: Callable[[], AIOKafkaConsumer],
        topics: Topics,
        partition_count: int,
        rooms: SessionStore,
        sources: SourceStore,
        ring: EventStream,
        keeper: EventArchiver,
        hidden: Redactor,
        seal: Seal,
        metrics: GatewayMetrics,
        progress: Progress,
    ) -> None:
        self._make_reader, self._partition_count = make_reader, partition_count
        self._topics, self._metrics, self._progress = topics, metrics, progress
        self._rooms, self._sources, self._ring, self._keeper = rooms, sources, ring, keeper
        self._hidden, self._seal = hidden, seal
        self._modality_of = {topics.media(m): m for m in topics.modalities}

    async def run(self, look_back_s: int) -> None:
        """Follow until cancelled; wait while the broker cannot be reached."""
        await follow(lambda: self._connect(look_back_s), self._consume, self._progress)

    def _connect(self, look_back_s: int) -> TopicFollower:
        topics = self._topics
        names = (*topics.media_all, topics.windows, topics.predictions, topics.events, topics.late, topics.dead)
        since_ms = max(int((time.time() - look_back_s) * 1000), 0)
        return TopicFollower(
            self._make_reader,
            dict.fromkeys(names, since_ms),
            self._partition_count,
            LAG_MAX,
            lambda topic, count: self._metrics.records_skipped.labels(topic).inc(count),
        )

    async def _consume(self, batch: Batch) -> None:
        now_us = time.monotonic_ns() // 1000
        for tp, records in batch.items():
            self._metrics.records.labels(tp.topic).inc(len(records))
            for record in records:
                self._take(tp.topic, KafkaRecord.copy_of(record), now_us)
        if batch:
            self._ring.wake()
        self._rooms.trim(now_us)
        self._keeper.end_silent_events(self._rooms.views, time.time_ns() // 1000)
        self._metrics.sessions.set(len(self._rooms.views))
        self._metrics.history_bytes.set(self._rooms.bytes)

    def _take(self, topic: str, record: KafkaRecord, now_us: int) -> None:
        try:
            for found in self._told(topic, record):
                one = self._hidden.redact(found, record.timestamp * 1000)
                if one is not None and self._rooms.add(one, now_us):
                    self._sources.add(one)
                    self._ring.append(one)
                    if one.kind == "event":
                        self._keeper.add(record, one, self._rooms.views.get(one.session))
        except InvalidRecord:
            self._metrics.records_unreadable.labels(topic).inc()

    def _told(self, topic: str, record: KafkaRecord) -> Iterable[PageMessage]:
        topics = self._topics
        if topic in self._modality_of:
            ours = record.key is not None or self._seal.holds(
                topic, record.partition, record.headers, record.value or b""
            )
            return media_messages.media_messages(self._modality_of[topic], record, ours)
        if topic == topics.dead:
            return (messages.dead_letter_message(record, self._modality_of),)
        read = {
            topics.windows: messages.window_message,
            topics.predictions: messages.prediction_message,
            topics.events: messages.event_message,
            topics.late: messages.late_message,
        }
        return (read[topic](record),)
