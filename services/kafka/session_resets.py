"""Begin a session anew: write a reset into each of its media logs."""

from __future__ import annotations

import time

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.contract import session_reset
from services.contract.partitioner import partition_of
from services.contract.session_reset import SessionReset
from services.contract.topics import Topics
from services.kafka import clients
from services.kafka.log_reader import read_range
from services.kafka.signing_secret import require_unsigned
from services.kafka.skipped_records import SkippedRecords
from services.runtime.settings import Settings

RECENT_MS = 60_000
_skipped = SkippedRecords("reset")


async def reset_session(settings: Settings, session: str) -> tuple[SessionReset, bool]:
    """Write a reset into the media logs of a session and wait for the acknowledgements.

    Return it, and whether the topics hold anything of the session: one that nobody knows may be a mistyped name.
    A command that is interrupted between two logs leaves the session with no window until it is run again.

    Raises:
        KafkaError: The broker fails.
        MissingSecretError: The services would not accept the reset.
    """
    topics, broker, signer = settings.topic_names(), settings.kafka, settings.kafka.signer()
    number = partition_of(session.encode(), settings.topics.partitions)
    newest = 0
    async with clients.reader(broker) as reader, clients.producer(broker) as producer:
        if not signer.secrets:
            await require_unsigned(reader, TopicPartition(topics.frontier, number))
        async for record in read_range(reader, TopicPartition(topics.control, number)):
            with _skipped.guard(record):
                if session_reset.is_start_key(record.key) and record.value is not None:
                    start = session_reset.decode_start(record.value)
                    newest = max(newest, start.generation) if start.session == session else newest
        is_known = newest > 0 or await _is_known(reader, topics, number, session.encode())
        # A clock that went back must not make the reset older than the last one.
        reset = SessionReset(session, max(time.time_ns() // 1_000_000, newest + 1))
        value = session_reset.encode(reset)
        for topic in topics.media_all:
            headers = signer.sign(topic, number, None, value, session_reset.headers(value))
            await producer.send_and_wait(topic, value, partition=number, headers=headers)
    return reset, is_known


async def _is_known(reader: AIOKafkaConsumer, topics: Topics, number: int, key: bytes) -> bool:
    """Return whether a session has a last emitted window, or recently a window or a late record."""
    async for record in read_range(reader, TopicPartition(topics.frontier, number)):
        if record.key is not None and record.value is not None and record.key.partition(b"\0")[0] == key:
            return True
    since_ms = time.time_ns() // 1_000_000 - RECENT_MS
    for tp in (TopicPartition(topics.windows, number), TopicPartition(topics.late, number)):
        start = (await reader.offsets_for_times({tp: since_ms}))[tp]
        if start is not None:
            async for record in read_range(reader, tp, start.offset):
                if record.key == key:
                    return True
    return False
