"""Follows the control topic from its beginning, without a consumer group.

Says something of a session: the newest record of the control topic, changed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from services.contract import control
from services.contract.control import Control
from services.contract.partitioner import partition_of
from services.contract.topics import Topics
from services.contract.window import Window
from services.kafka import clients
from services.kafka.follower import Batch, TopicFollower
from services.kafka.log_reader import read_range
from services.runtime.settings import Settings

POLL_MS = 1_000


class ControlTopic:
    """What holds for each session of which something was said; a record is known some 50 ms after its acknowledgement.

    Fails closed: where the topic can be read no more, `check` raises, and whoever uses payloads must end.
    """

    @classmethod
    def from_settings(cls, settings: Settings) -> ControlTopic:
        """Of the topic that the settings name."""
        return cls(lambda: clients.make_reader(settings.kafka), settings.topic_names(), settings.topics.partitions)

    def __init__(self, make_reader: Callable[[], AIOKafkaConsumer], topics: Topics, partitions: int) -> None:
        self._follower = TopicFollower(make_reader, {topics.control: 0}, partitions)
        self._told: Callable[[Control], None] = lambda _: None
        self._known: dict[str, Control] = {}
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ControlTopic:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def on_change(self, told: Callable[[Control], None]) -> None:
        """Call this with each control as it becomes known; before `start`."""
        self._told = told

    async def start(self) -> None:
        """Read all that was said so far, then follow. Raises KafkaError."""
        await self._follower.start()
        try:
            async for batch in self._follower.poll_to_end():
                self._take_all(batch)
        except BaseException:
            await self._follower.stop()
            raise
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Follow no more."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            await self._follower.stop()

    def raise_if_failed(self) -> None:
        """Raises what ended the following."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def wait_for_failure(self) -> None:
        """Until the following fails: raises why."""
        if self._task is not None:
            await asyncio.shield(self._task)

    def for_session(self, session: str) -> Control | None:
        """What was said of a session, None where nothing was."""
        return self._known.get(session)

    @property
    def controls(self) -> Mapping[str, Control]:
        """All sessions of which something was said."""
        return self._known

    def with_mutes(self, window: Window) -> Window:
        """The window with its muted senses marked."""
        found = self._known.get(window.session)
        return window if found is None else found.with_mutes(window)

    async def _follow(self) -> None:
        while True:
            self._take_all(await self._follower.poll(POLL_MS))

    def _take_all(self, batch: Batch) -> None:
        for records in batch.values():
            for record in records:
                self._take(record)

    def _take(self, record: ConsumerRecord) -> None:
        try:
            session = record.key.decode()
        except (AttributeError, UnicodeDecodeError):
            return
        found = control.decode_or_none(session, record.value) if record.value else Control(session)
        if found is not None:
            # A tombstone unmutes; what was forgotten stays so for as long as we remember.
            before = self._known.get(session)
            self._known[session] = found if before is None else found.forget(before.forgotten_before_us)
            self._told(self._known[session])


async def read_control(reader: AIOKafkaConsumer, topics: Topics, partitions: int, session: str) -> Control:
    """What holds for a session. Raises KafkaError."""
    key, found = session.encode(), Control(session)
    async for record in read_range(reader, TopicPartition(topics.control, partition_of(key, partitions))):
        if record.key == key:
            found = (control.decode_or_none(session, record.value) if record.value else Control(session)) or found
    return found


async def update_control(
    reader: AIOKafkaConsumer,
    producer: AIOKafkaProducer,
    topics: Topics,
    partitions: int,
    session: str,
    change: Callable[[Control], Control],
) -> Control:
    """Change what holds for a session; on return the broker has it. Of two who speak at once the last counts. Raises KafkaError."""
    changed = change(await read_control(reader, topics, partitions, session))
    key = session.encode()
    await producer.send_and_wait(
        topics.control,
        control.encode(changed),
        key=key,
        partition=partition_of(key, partitions),
        headers=[("content-type", b"application/json")],
    )
    return changed
