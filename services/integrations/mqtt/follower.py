"""Follows the topics for the bridge: media for who is heard, final predictions, and events from now on."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from services.contract import canonical, cloudevents, event, timestamps
from services.contract.cloudevents import Envelope
from services.contract.event import Event
from services.contract.topics import Topics
from services.integrations.mqtt.client import MqttClient
from services.integrations.mqtt.state import BridgeState, FrameRef, MqttMessage
from services.kafka.follower import Batch, TopicFollower, follow
from services.kafka.log_reader import read_range
from services.runtime.health import Progress
from services.runtime.metrics import MqttMetrics

# How far back sources and predictions are read at the start.
LOOK_BACK_MS = 60_000


class BridgeFollower:
    """Reads every partition without a consumer group and hands what it leads to, to the broker's side."""

    def __init__(
        self,
        make_reader: Callable[[], AIOKafkaConsumer],
        topics: Topics,
        partition_count: int,
        home: BridgeState,
        broker: MqttClient,
        pictures: bool,
        metrics: MqttMetrics,
        progress: Progress,
    ) -> None:
        self._make_reader, self._partition_count = make_reader, partition_count
        self._topics, self._home, self._broker = topics, home, broker
        self._pictures, self._metrics, self._progress = pictures, metrics, progress
        self._modality_of = {topics.media(m): m for m in topics.modalities}

    async def run(self) -> None:
        """Follow until cancelled; wait while the broker cannot be reached."""
        await follow(self._connect, self._consume, self._progress)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[TopicFollower]:
        since_ms: dict[str, int | None] = dict.fromkeys(
            (*self._topics.media_all, self._topics.predictions), int(time.time() * 1000) - LOOK_BACK_MS
        )
        # Old events are no news: each message about one fires automations in Home Assistant.
        since_ms[self._topics.events] = None
        self._image_reader = self._make_reader()
        try:
            await self._image_reader.start()
            async with TopicFollower(self._make_reader, since_ms, self._partition_count) as follower:
                yield follower
        finally:
            await self._image_reader.stop()

    async def _consume(self, batch: Batch) -> None:
        # Media before events, so that an event finds a picture of the same batch.
        for tp in sorted(batch, key=lambda tp: tp.topic == self._topics.events):
            for record in batch[tp]:
                try:
                    self._broker.send(list(self._said(tp.topic, record)))
                    if tp.topic == self._topics.events and self._pictures:
                        await self._picture(event.decode(record.value or b""))
                except (canonical.InvalidJson, KeyError, TypeError, UnicodeDecodeError):
                    self._metrics.records_unreadable.inc()
        self._broker.send(list(self._home.source_states(time.time_ns() // 1000)))
        self._metrics.sessions.set(len(self._home.sessions))

    def _said(self, topic: str, record: ConsumerRecord) -> Iterable[MqttMessage]:
        if topic in self._modality_of:
            return self._heard(self._modality_of[topic], record)
        if topic == self._topics.events:
            step = event.decode(record.value or b"")
            hidden = self._home.is_forgotten(step.session, step.start_us)
            return () if hidden else self._home.event(step, record.value)
        read = canonical.loads_object(record.value or b"")
        if self._home.is_forgotten(read["session"], read["window"]["start"]):
            return ()
        end_us = read["window"]["end"]
        return self._home.prediction(read["session"], read["label"], read["confidence"], end_us, read["final"])

    def _heard(self, modality: str, record: ConsumerRecord) -> Iterable[MqttMessage]:
        # Ticks have no key; a dead letter says why a record without a readable envelope was refused.
        read = cloudevents.parse_envelope(record.headers, record.value)
        if record.key is None or not isinstance(read, Envelope) or not read.get("source"):
            return ()
        if read.get("type") == cloudevents.SESSION_END_TYPE:
            return ()  # a source that says that it is over is not there any more than one that says nothing
        t_us, content_type = timestamps.parse(read.get("time")), read.get("content-type")
        picture = None
        if self._pictures and modality == "video" and content_type.startswith("image/") and t_us is not None:
            picture = FrameRef(record.partition, record.offset, t_us, content_type)
        at_us = record.timestamp * 1000
        if self._home.is_forgotten(record.key.decode(), at_us):
            return ()
        return self._home.chunk(record.key.decode(), modality, read.get("source"), at_us, picture)

    async def _picture(self, said: Event) -> None:
        """The newest picture of an event, once for each word of it."""
        found = self._home.newest_frame(said)
        if said.lifecycle == "end" or found is None:
            return
        tp = TopicPartition(self._topics.media("video"), found.partition)
        async for record in read_range(self._image_reader, tp, found.offset, found.offset + 1):
            read = cloudevents.parse_envelope(record.headers, record.value)
            if isinstance(read, Envelope) and read.payload:
                self._broker.send([self._home.image(said.session, read.payload)])
