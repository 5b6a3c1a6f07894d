"""The follower of all topics: it fills the session views, the source statistics, the event stream and the archive."""

from __future__ import annotations

import time
from collections.abc import Callable

from aiokafka import AIOKafkaConsumer

from services.contract.kafka_record import KafkaRecord
from services.contract.mute_and_forget import Control
from services.contract.topics import Topics
from services.gateway.event_archiver import EventArchiver
from services.gateway.message_buffer import EventStream
from services.gateway.messages import MessageDecoder
from services.gateway.redaction import Redactor, redact_muted
from services.gateway.sessions import SessionStore
from services.gateway.sources import SourceStore
from services.kafka.follower import Batch, TopicFollower, follow
from services.kafka.skipped_records import SkippedRecords
from services.runtime.health import Progress
from services.runtime.metric_definitions import GatewayMetrics

# The page shows what is new: a follower that is further behind skips records, and counts them.
LAG_MAX = 20_000
# How long records may gather while somebody watches, and while nobody does.
WATCHED_LINGER_MS, UNWATCHED_LINGER_MS = 100, 1_000


class GatewayFollower:
    """Reads every partition of the topics."""

    def __init__(
        self,
        make_reader: Callable[[], AIOKafkaConsumer],
        topics: Topics,
        partition_count: int,
        sessions: SessionStore,
        sources: SourceStore,
        stream: EventStream,
        archiver: EventArchiver,
        redactor: Redactor,
        decoder: MessageDecoder,
        metrics: GatewayMetrics,
        progress: Progress,
    ) -> None:
        self._make_reader, self._partition_count = make_reader, partition_count
        self._topics, self._metrics, self._progress = topics, metrics, progress
        self._sessions, self._sources, self._stream, self._archiver = sessions, sources, stream, archiver
        self._skipped = SkippedRecords("page", lambda topic: metrics.records_unreadable.labels(topic).inc())
        self._redactor, self._decoder = redactor, decoder

    async def run(self, look_back_s: int) -> None:
        """Follow until cancelled; wait while the broker cannot be reached."""
        await follow(lambda: self._connect(look_back_s), self._consume, self._progress)

    def _connect(self, look_back_s: int) -> TopicFollower:
        topics = self._topics
        names = (*topics.media_all, topics.windows, topics.predictions, topics.events, topics.late, topics.dead)
        since_ms = max(int((time.time() - look_back_s) * 1000), 0)
        self._follower = TopicFollower(
            self._make_reader,
            dict.fromkeys(names, since_ms),
            self._partition_count,
            LAG_MAX,
            lambda topic, count: self._metrics.records_skipped.labels(topic).inc(count),
        )
        return self._follower

    async def _consume(self, batch: Batch) -> None:
        now_us = time.monotonic_ns() // 1000
        self._follower.let_gather(WATCHED_LINGER_MS if self._stream.readers else UNWATCHED_LINGER_MS)
        for tp, records in batch.items():
            self._metrics.records.labels(tp.topic).inc(len(records))
            for record in records:
                with self._skipped.guard(record):
                    self._add(KafkaRecord.copy_of(record), now_us)
        if batch:
            self._stream.wake()
        self._sessions.trim(now_us)
        self._archiver.end_silent_events(self._sessions.views, time.time_ns() // 1000)
        self._metrics.sessions.set(len(self._sessions.views))
        self._metrics.history_bytes.set(self._sessions.bytes)

    def _add(self, record: KafkaRecord, now_us: int) -> None:
        for decoded in self._decoder.decode(record):
            message = self._redactor.redact(decoded, record.timestamp * 1000)
            if message is not None and self._sessions.add(message, now_us):
                self._sources.add(message)
                self._stream.append(message)
                if message.kind == "event":
                    self._archiver.add(record, message, self._sessions.views.get(message.session))


class ControlApplier:
    """Redacts what is already in memory as soon as a session is muted or forgotten."""

    def __init__(
        self, sessions: SessionStore, sources: SourceStore, stream: EventStream, archiver: EventArchiver
    ) -> None:
        self._sessions, self._sources, self._stream, self._archiver = sessions, sources, stream, archiver
        self._forgotten_us: dict[str, int] = {}

    def __call__(self, control: Control) -> None:
        """Apply a control record."""
        session = control.session
        if control.forgotten_before_us > self._forgotten_us.get(session, 0):
            self._forgotten_us[session] = control.forgotten_before_us
            self._sessions.forget(session)
            self._sources.forget(session)
            self._archiver.forget(session)
            self._stream.rewrite(session, lambda _: None)
        for store in (self._sessions, self._stream):
            store.rewrite(session, lambda message: redact_muted(message, control))
