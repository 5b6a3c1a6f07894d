"""Follows the topics for the bridge: media for who is heard, final predictions, and events from now on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from services.contract import canonical, cloudevents, event, timestamps
from services.contract.cloudevents import Envelope
from services.contract.event import Event
from services.contract.topics import Topics
from services.integrations.mqtt.client import Broker
from services.integrations.mqtt.state import Home, Message, Picture
from services.kafka.log_reader import read_range
from services.runtime.health import Progress
from services.runtime.metrics import MqttMetrics

RECORDS_MAX, POLL_MS, AGAIN_S = 500, 100, 0.5
# Sources and the newest predictions of the last minute are known at once; older events are not news.
LOOK_BACK_MS = 60_000
_log = logging.getLogger(__name__)


class Follower:
    """Reads every partition without a consumer group and hands what it leads to, to the broker's side."""

    def __init__(
        self,
        make_reader: Callable[[], AIOKafkaConsumer],
        topics: Topics,
        partition_count: int,
        home: Home,
        broker: Broker,
        pictures: bool,
        metrics: MqttMetrics,
        progress: Progress,
    ) -> None:
        self._make_reader, self._topics, self._home, self._broker = make_reader, topics, home, broker
        self._pictures, self._metrics, self._progress = pictures, metrics, progress
        self._modality_of = {topics.media(m): m for m in topics.modalities}
        self._partitions = [
            TopicPartition(topic, n)
            for topic in (*topics.media_all, topics.predictions, topics.events)
            for n in range(partition_count)
        ]

    async def run(self) -> None:
        """Follow until cancelled; a broker that is away is waited for."""
        while True:
            reader, other = self._make_reader(), self._make_reader()
            try:
                await reader.start()
                await other.start()
                await self._begin(reader)
                self._progress.not_ready.pop("start", None)
                self._progress.not_ready.pop("broker", None)
                while True:
                    await self._turn(reader, other)
            except (KafkaError, OSError) as error:
                self._progress.not_ready["broker"] = "the topics cannot be read"
                _log.warning("the topics cannot be read: trying again", extra={"why": str(error)})
            finally:
                await reader.stop()
                await other.stop()
            self._progress.beat()
            await asyncio.sleep(AGAIN_S)

    async def _begin(self, reader: AIOKafkaConsumer) -> None:
        reader.assign(self._partitions)
        from_ms = int(time.time() * 1000) - LOOK_BACK_MS
        found = await reader.offsets_for_times(dict.fromkeys(self._partitions, from_ms))
        ends = await reader.end_offsets(self._partitions)
        for tp in self._partitions:
            at = None if tp.topic == self._topics.events else found.get(tp)
            reader.seek(tp, ends[tp] if at is None else at.offset)

    async def _turn(self, reader: AIOKafkaConsumer, other: AIOKafkaConsumer) -> None:
        fetched = await reader.getmany(timeout_ms=POLL_MS, max_records=RECORDS_MAX)
        # Media before events: an event of the same turn finds its picture.
        for tp in sorted(fetched, key=lambda tp: tp.topic == self._topics.events):
            for record in fetched[tp]:
                try:
                    self._broker.send(list(self._said(tp.topic, record)))
                    if tp.topic == self._topics.events and self._pictures:
                        await self._picture(other, event.decode(record.value or b""))
                except (canonical.InvalidJson, KeyError, TypeError, UnicodeDecodeError):
                    self._metrics.unread.inc()
        self._broker.send(list(self._home.sources(time.time_ns() // 1000)))
        self._metrics.sessions.set(len(self._home.sessions))
        self._progress.beat()

    def _said(self, topic: str, record: ConsumerRecord) -> Iterable[Message]:
        if topic in self._modality_of:
            return self._heard(self._modality_of[topic], record)
        if topic == self._topics.events:
            step = event.decode(record.value or b"")
            hidden = self._home.forgets(step.session, step.start_us)
            return () if hidden else self._home.event(step, record.value)
        read = canonical.loads_object(record.value or b"")
        if self._home.forgets(read["session"], read["window"]["start"]):
            return ()
        end_us = read["window"]["end"]
        return self._home.prediction(read["session"], read["label"], read["confidence"], end_us, read["final"])

    def _heard(self, modality: str, record: ConsumerRecord) -> Iterable[Message]:
        # Ticks have no key; a dead letter says why a record without a readable envelope was refused.
        read = cloudevents.unwrap(record.headers, record.value)
        if record.key is None or not isinstance(read, Envelope) or not read.get("source"):
            return ()
        if read.get("type") == cloudevents.SESSION_END_TYPE:
            return ()  # a source that says that it is over is not there any more than one that says nothing
        t_us, content_type = timestamps.parse(read.get("time")), read.get("content-type")
        picture = None
        if self._pictures and modality == "video" and content_type.startswith("image/") and t_us is not None:
            picture = Picture(record.partition, record.offset, t_us, content_type)
        at_us = record.timestamp * 1000
        if self._home.forgets(record.key.decode(), at_us):
            return ()
        return self._home.chunk(record.key.decode(), modality, read.get("source"), at_us, picture)

    async def _picture(self, other: AIOKafkaConsumer, said: Event) -> None:
        """The newest picture of an event, once for each word of it."""
        found = self._home.picture(said)
        if said.lifecycle == "end" or found is None:
            return
        tp = TopicPartition(self._topics.media("video"), found.partition)
        async for record in read_range(other, tp, found.offset, found.offset + 1):
            read = cloudevents.unwrap(record.headers, record.value)
            if isinstance(read, Envelope) and read.payload:
                self._broker.send([self._home.image(said.session, read.payload)])
