"""Follow the control topic from its beginning without a consumer group, and update the control of a session."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from services.contract import mute_and_forget
from services.contract.mute_and_forget import Control
from services.contract.partitioner import partition_of
from services.contract.signature import Signer
from services.contract.topics import Topics
from services.contract.window import Window
from services.kafka import clients
from services.kafka.clients import SigningProducer
from services.kafka.follower import RETRY_S, Batch, TopicFollower
from services.kafka.log_reader import read_range
from services.kafka.signing_secret import require_unsigned
from services.kafka.skipped_records import SkippedRecords
from services.runtime.settings import Settings

POLL_MS = 1_000
_log = logging.getLogger(__name__)
_skipped = SkippedRecords("control")


class ControlTopic:
    """The current control of each session; a record is visible about 50 ms after its acknowledgement.

    It fails closed: while the topic is unreadable, `raise_if_failed` raises, and users of payloads must wait. It is read
    again from its beginning as soon as that is possible.
    """

    @classmethod
    def from_settings(cls, settings: Settings) -> ControlTopic:
        """Create a follower of the control topic in the settings."""
        return cls(lambda: clients.make_reader(settings.kafka), settings.topic_names(), settings.topics.partitions)

    def __init__(self, make_reader: Callable[[], AIOKafkaConsumer], topics: Topics, partitions: int) -> None:
        self._follower = TopicFollower(make_reader, {topics.control: 0}, partitions)
        self._on_change: Callable[[Control], None] = lambda _: None
        self._known: dict[str, Control] = {}
        self._task: asyncio.Task[None] | None = None
        self._failure: KafkaError | None = None

    async def __aenter__(self) -> ControlTopic:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def on_change(self, callback: Callable[[Control], None]) -> None:
        """Call `callback` with each new control. Set it before `start`."""
        self._on_change = callback

    async def start(self) -> None:
        """Read all existing controls, then follow the topic. Raises KafkaError."""
        await self._read_all()
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            await self._follower.stop()

    def raise_if_failed(self) -> None:
        """Raise the error because of which a mute may be unknown, if any."""
        if self._failure is not None:
            raise self._failure
        if self._task is not None and self._task.done():
            self._task.result()

    async def wait_for_failure(self) -> None:
        """Wait until the follower ends by a defect of its own, and raise that."""
        if self._task is not None:
            await asyncio.shield(self._task)

    def for_session(self, session: str) -> Control | None:
        """Return the control of a session, or None if it has none."""
        return self._known.get(session)

    @property
    def controls(self) -> Mapping[str, Control]:
        """All known controls, by session."""
        return self._known

    def with_mutes(self, window: Window) -> Window:
        """Return the window with its muted modalities marked."""
        current = self._known.get(window.session)
        return window if current is None else current.with_mutes(window)

    async def _follow(self) -> None:
        while True:
            try:
                batch = await self._follower.poll(POLL_MS)
            except KafkaError as error:
                await self._recover(error)
            else:
                known: dict[str, Control] = {}
                _merge(known, batch)
                self._update(known)

    async def _recover(self, error: KafkaError) -> None:
        """Read the topic again, as often as that fails."""
        _log.warning("The control topic cannot be read; it is read again.", extra={"why": str(error)})
        self._failure = error
        await self._follower.stop()
        while self._failure is not None:
            await asyncio.sleep(RETRY_S)
            with contextlib.suppress(KafkaError):
                await self._read_all()
                self._failure = None

    async def _read_all(self) -> None:
        """Connect and read to the end. What is known changes at the end only: what was muted stays so meanwhile."""
        known: dict[str, Control] = {}
        await self._follower.start()
        try:
            async for batch in self._follower.poll_to_end():
                _merge(known, batch)
        except BaseException:
            await self._follower.stop()
            raise
        self._update(known)

    def _update(self, known: Mapping[str, Control]) -> None:
        for session, control in known.items():
            self._known[session] = _keep_deletion(self._known.get(session), control)
            self._on_change(self._known[session])


def _merge(known: dict[str, Control], batch: Batch) -> None:
    """Add the controls of a batch, in order."""
    for record in (record for records in batch.values() for record in records):
        with _skipped.guard(record):
            session = record.key.decode()
            if not session.isprintable():
                continue  # `braid doctor` measures the broker's clock under a key that no session can have.
            current = mute_and_forget.decode_or_none(session, record.value) if record.value else Control(session)
            if current is not None:
                known[session] = _keep_deletion(known.get(session), current)


def _keep_deletion(before: Control | None, current: Control) -> Control:
    """A tombstone unmutes, but does not undo a deletion that this process knows of."""
    return current if before is None else current.forget(before.forgotten_before_us)


async def read_control(reader: AIOKafkaConsumer, topics: Topics, partitions: int, session: str) -> Control:
    """Read the control of a session. Raises KafkaError."""
    key, current = session.encode(), Control(session)
    async for record in read_range(reader, TopicPartition(topics.control, partition_of(key, partitions))):
        if record.key == key:
            current = (
                mute_and_forget.decode_or_none(session, record.value) if record.value else Control(session)
            ) or current
    return current


async def update_control(
    reader: AIOKafkaConsumer,
    producer: SigningProducer,
    topics: Topics,
    partitions: int,
    session: str,
    change: Callable[[Control], Control],
) -> Control:
    """Change the control of a session and wait for the acknowledgement; the last writer wins.

    Raises:
        KafkaError: The broker fails.
        MissingSecretError: The services would not accept the change.
    """
    key = session.encode()
    if not producer.signs:
        await require_unsigned(reader, TopicPartition(topics.frontier, partition_of(key, partitions)))
    changed = change(await read_control(reader, topics, partitions, session))
    await producer.send_and_wait(
        topics.control,
        mute_and_forget.encode(changed),
        key=key,
        partition=partition_of(key, partitions),
        headers=[("content-type", b"application/json")],
    )
    return changed


async def renew_signatures(settings: Settings) -> int:
    """Write controls again that the first secret has not signed, or after which a forged record stands.

    Compaction leaves the last record of a session, of any writer, and a mute outlives any secret. Return how many were
    written. Raises KafkaError.
    """
    signer, topic = settings.kafka.signer(), settings.topic_names().control
    if not signer.secrets:
        return 0
    first, outdated = Signer(signer.secrets[:1]), list[tuple[int, ConsumerRecord]]()
    async with clients.reader(settings.kafka, with_forged=True) as reader:
        if topic not in await reader.topics():
            return 0  # This user may not read it.
        for number in range(settings.topics.partitions):
            own: dict[bytes, ConsumerRecord] = {}
            last: dict[bytes | None, ConsumerRecord] = {}
            async for record in read_range(reader, TopicPartition(topic, number)):
                last[record.key] = record
                if record.key is not None and signer.verify(topic, number, record):
                    own[record.key] = record
            outdated += [
                (number, record)
                for key, record in own.items()
                if last[key] is not record or not first.verify(topic, number, record)
            ]
    if not outdated:
        return 0
    async with clients.producer(settings.kafka) as producer:
        for number, record in outdated:
            headers = list(record.headers)
            await producer.send_and_wait(topic, record.value, key=record.key, partition=number, headers=headers)
    return len(outdated)
