"""Begin a session anew: write a reset into each of its media logs."""

from __future__ import annotations

import time

from aiokafka import TopicPartition

from services.contract import session_reset
from services.contract.partitioner import partition_of
from services.contract.session_reset import SessionReset
from services.kafka import clients
from services.kafka.log_reader import read_range
from services.kafka.signing_secret import require_unsigned
from services.kafka.skipped_records import SkippedRecords
from services.runtime.settings import Settings

_skipped = SkippedRecords("reset")


async def reset_session(settings: Settings, session: str) -> SessionReset:
    """Write a reset into the media logs of a session and wait for the acknowledgements.

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
        # A clock that went back must not make the reset older than the last one.
        reset = SessionReset(session, max(time.time_ns() // 1_000_000, newest + 1))
        value = session_reset.encode(reset)
        for topic in topics.media_all:
            headers = signer.sign(topic, number, None, value, session_reset.headers(value))
            await producer.send_and_wait(topic, value, partition=number, headers=headers)
    return reset
