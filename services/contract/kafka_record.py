"""A Kafka record and its position in a log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

Headers = Sequence[tuple[str, bytes]]


class LogRecord(Protocol):
    """What alignment reads of a record, so that aiokafka's `ConsumerRecord` needs no copy on the hot path."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def value(self) -> bytes | None: ...


class ConsumedRecord(LogRecord, Protocol):
    """A record with its topic and partition, as aiokafka's `ConsumerRecord`."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...


class KafkaRecord(NamedTuple):
    """One record of a topic; `timestamp` is the broker's append time in ms."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    headers: Headers
    value: bytes | None

    @classmethod
    def copy_of(cls, record: ConsumedRecord) -> KafkaRecord:
        """Copy a consumed record, without what the client adds to it."""
        return cls(
            record.topic,
            record.partition,
            record.offset,
            record.timestamp,
            record.key,
            list(record.headers),
            record.value,
        )

    @property
    def position(self) -> RecordPosition:
        """Return its position."""
        return RecordPosition(self.topic, self.partition, self.offset)


class RecordPosition(NamedTuple):
    """A position in a topic."""

    topic: str
    partition: int
    offset: int


class MemberPosition(NamedTuple):
    """The position of a window's member, whose topic follows from its modality."""

    modality: str
    partition: int
    offset: int
