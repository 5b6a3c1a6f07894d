"""Says something of a session: the newest record of the control topic, changed."""

from __future__ import annotations

from collections.abc import Callable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from services.contract import control
from services.contract.control import Control
from services.contract.murmur2 import partition_of
from services.contract.topics import Topics
from services.runtime.log_range import read_range


async def said(reader: AIOKafkaConsumer, topics: Topics, partitions: int, session: str) -> Control:
    """What holds for a session. Raises KafkaError."""
    key, found = session.encode(), Control(session)
    async for record in read_range(reader, TopicPartition(topics.control, partition_of(key, partitions))):
        if record.key == key:
            found = (control.read(session, record.value) if record.value else Control(session)) or found
    return found


async def say(
    reader: AIOKafkaConsumer,
    producer: AIOKafkaProducer,
    topics: Topics,
    partitions: int,
    session: str,
    change: Callable[[Control], Control],
) -> Control:
    """Change what holds for a session; on return the broker has it. Of two who speak at once the last counts. Raises KafkaError."""
    changed = change(await said(reader, topics, partitions, session))
    key = session.encode()
    await producer.send_and_wait(
        topics.control,
        control.encode(changed),
        key=key,
        partition=partition_of(key, partitions),
        headers=[("content-type", b"application/json")],
    )
    return changed
