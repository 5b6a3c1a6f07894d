"""The follower of the bridge: media for connected sources and frames, final predictions, and events since it started."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from services.contract import cloudevents, event, media_headers, prediction, timestamps
from services.contract.admission import declared_duration_us, session_of
from services.contract.alignment_config import AlignmentConfig
from services.contract.cloudevents import Envelope
from services.contract.dead_letter import Rejected
from services.contract.event import Event
from services.contract.media_headers import AudioInfo
from services.contract.topics import Topics
from services.integrations.mqtt.client import MqttClient
from services.integrations.mqtt.state import BridgeState, FrameRef, MqttMessage
from services.kafka.follower import Batch, TopicFollower, follow
from services.kafka.log_reader import read_range
from services.kafka.skipped_records import SkippedRecords
from services.runtime.health import Progress
from services.runtime.metric_definitions import MqttMetrics

# How far back sources, predictions and events are read at the start.
LOOK_BACK_MS = 60_000


class BridgeFollower:
    """Reads every partition of the topics and sends over MQTT what follows from the records."""

    def __init__(
        self,
        make_reader: Callable[[], AIOKafkaConsumer],
        topics: Topics,
        config: AlignmentConfig,
        partition_count: int,
        state: BridgeState,
        client: MqttClient,
        with_images: bool,
        metrics: MqttMetrics,
        progress: Progress,
    ) -> None:
        self._make_reader, self._partition_count = make_reader, partition_count
        self._topics, self._config, self._state, self._client = topics, config, state, client
        self._with_images, self._metrics, self._progress = with_images, metrics, progress
        self._skipped = SkippedRecords("bridge", lambda _: metrics.records_unreadable.inc())
        self._modality_of = {topics.media(m): m for m in topics.modalities}
        self._started_ms = int(time.time() * 1000)

    async def run(self) -> None:
        """Follow until cancelled; wait while the broker cannot be reached."""
        await follow(self._connect, self._consume, self._progress)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[TopicFollower]:
        names = (*self._topics.media_all, self._topics.predictions, self._topics.events)
        since_ms: dict[str, int | None] = dict.fromkeys(names, int(time.time() * 1000) - LOOK_BACK_MS)
        self._image_reader = self._make_reader()
        try:
            await self._image_reader.start()
            async with TopicFollower(self._make_reader, since_ms, self._partition_count) as follower:
                yield follower
        finally:
            await self._image_reader.stop()

    async def _consume(self, batch: Batch) -> None:
        # Media before events, so that an event finds a frame of the same batch.
        for tp in sorted(batch, key=lambda tp: tp.topic == self._topics.events):
            for record in batch[tp]:
                with self._skipped.guard(record):
                    messages = list(self._messages_of(tp.topic, record))
                    if tp.topic == self._topics.events and record.timestamp < self._started_ms:
                        # Old events are no news, because each message about one fires automations in Home Assistant.
                        # They are read so that an event which was announced before a restart is not announced again.
                        continue
                    self._client.send(messages)
                    if tp.topic == self._topics.events and self._with_images:
                        await self._send_image(event.decode(record.value or b""))
        self._client.send(list(self._state.source_states(time.time_ns() // 1000)))
        self._metrics.sessions.set(len(self._state.sessions))

    def _messages_of(self, topic: str, record: ConsumerRecord) -> Iterable[MqttMessage]:
        if topic in self._modality_of:
            return self._media_messages(self._modality_of[topic], record)
        if topic == self._topics.events:
            step = event.decode(record.value or b"")
            is_forgotten = self._state.is_forgotten(step.session, step.start_us)
            return () if is_forgotten else self._state.event(step, record.value)
        answer = prediction.decode(record.value)
        session, span = answer["session"], answer["window"]
        if self._state.is_forgotten(session, span["start"]):
            return ()
        return self._state.prediction(session, answer["label"], answer["confidence"], span["end"], answer["final"])

    def _media_messages(self, modality: str, record: ConsumerRecord) -> Iterable[MqttMessage]:
        # Idle records have no key; records without a readable envelope, session or source become dead letters, and must
        # not become devices of Home Assistant with names of megabytes.
        limits = self._config.admission
        envelope = cloudevents.parse_envelope(record.headers, record.value, limits.header_bytes_max)
        if record.key is None or not isinstance(envelope, Envelope):
            return ()
        session = session_of(record.key, envelope, limits.session_bytes_max)
        if isinstance(session, Rejected) or not 1 <= len(envelope.get("source")) <= limits.name_bytes_max:
            return ()
        if envelope.get("type") == cloudevents.SESSION_END_TYPE:
            return ()  # A source that ends is as disconnected as one that is silent.
        source, content_type, appended_us = (
            envelope.get("source"),
            envelope.get("content-type"),
            record.timestamp * 1000,
        )
        has_clock = not self._config.uses_append_time(source)
        t_us = timestamps.parse(envelope.get("time")) if has_clock else appended_us
        frame = None
        if self._with_images and modality == "video" and content_type.startswith("image/") and t_us is not None:
            frame = FrameRef(record.partition, record.offset, t_us, content_type)
        if self._state.is_forgotten(session, appended_us):
            return ()
        captured_us = None
        if t_us is not None and has_clock:
            captured_us = t_us + _duration_us(modality, envelope)
        return self._state.chunk(session, modality, source, appended_us, frame, captured_us)

    async def _send_image(self, step: Event) -> None:
        frame = self._state.newest_frame(step)
        if step.lifecycle == "end" or frame is None:
            return
        tp = TopicPartition(self._topics.media("video"), frame.partition)
        async for record in read_range(self._image_reader, tp, frame.offset, frame.offset + 1):
            envelope = cloudevents.parse_envelope(record.headers, record.value)
            if isinstance(envelope, Envelope) and envelope.payload:
                self._client.send([self._state.image(step.session, envelope.payload)])


def _duration_us(modality: str, envelope: Envelope) -> int:
    """Return the duration of a chunk, 0 if it is unknown."""
    if modality == "audio" and envelope.payload:
        audio = media_headers.measure_audio(envelope.get("content-type"), envelope.payload)
        return audio.duration_us if isinstance(audio, AudioInfo) else 0
    declared_us = declared_duration_us(envelope.attributes)
    return 0 if isinstance(declared_us, Rejected) else declared_us
