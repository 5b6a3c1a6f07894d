"""Fetches that wait for minutes at the broker delay no record.

Each consumer here waits longer than a test: a record that had to wait for a fetch to end would not come.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from services.kafka import clients, topic_admin
from services.kafka.clients import SigningProducer
from services.kafka.long_poll import LINGER_BYTES_MAX
from services.runtime.metric_definitions import FETCHES
from services.runtime.settings import Settings
from tests.waiting import DEADLINE_MS, wait_until

PARTITIONS = 2


@pytest.fixture(scope="module")
def own_settings(settings: Settings) -> Settings:
    """Settings with topics of this file."""
    prefix = f"{settings.topics.prefix}-long-poll"
    topics = settings.topics.model_copy(update={"prefix": prefix, "partitions": PARTITIONS})
    return settings.model_copy(update={"topics": topics})


@pytest.fixture(scope="module")
def logs(own_settings: Settings) -> list[TopicPartition]:
    """The partitions of a topic that everybody may write to."""
    topic = own_settings.topic_names().media("text")
    return [TopicPartition(topic, number) for number in range(PARTITIONS)]


@pytest.fixture(scope="module")
async def producer(own_settings: Settings) -> AsyncIterator[SigningProducer]:
    async with clients.admin(own_settings.kafka) as admin:
        await topic_admin.create_missing_topics(admin, own_settings)
    async with clients.producer(own_settings.kafka) as producer:
        yield producer


@pytest.fixture(params=[0], ids=["no-linger"])
async def reader(
    producer: SigningProducer, own_settings: Settings, logs: list[TopicPartition], request: pytest.FixtureRequest
) -> AsyncIterator[AIOKafkaConsumer]:
    """A reader at the ends of the logs, whose fetch waits at the broker; it lingers for the parameter, in ms."""
    wait_ms = int(10 * DEADLINE_MS)
    options = {"fetch_max_wait_ms": wait_ms, "request_timeout_ms": 2 * wait_ms, "linger_ms": request.param}
    async with clients.reader(own_settings.kafka, **options) as reader:
        before = fetch_count()
        reader.assign(logs)
        ends = await reader.end_offsets(logs)
        for log, end in ends.items():
            reader.seek(log, end)

        async def is_waiting() -> bool:
            return fetch_count() > before

        await wait_until(is_waiting, "a fetch")
        yield reader


def fetch_count() -> float:
    (metric,) = FETCHES.collect()
    return metric.samples[0].value


async def next_value(reader: AIOKafkaConsumer, *logs: TopicPartition) -> bytes:
    """Return the value of the next record."""

    async def poll() -> bytes | None:
        fetched = await reader.getmany(*logs, timeout_ms=100, max_records=1)
        return next((record.value for records in fetched.values() for record in records), None)

    return await wait_until(poll, "a record")


async def test_each_record_ends_the_fetch_that_waits_for_it(
    reader: AIOKafkaConsumer, producer: SigningProducer, logs: list[TopicPartition]
) -> None:
    for n, log in enumerate([*logs, *logs, logs[0]]):
        value = f"record {n}".encode()
        await producer.send_and_wait(log.topic, value, b"room", log.partition)
        assert await next_value(reader) == value


async def test_a_fetch_without_a_partition_that_is_not_consumed_yet_does_not_wait_long(
    reader: AIOKafkaConsumer, producer: SigningProducer, logs: list[TopicPartition]
) -> None:
    first, other = logs
    await producer.send_and_wait(first.topic, b"buffered", b"room", first.partition)

    async def is_fetched() -> bool:
        return bool(reader.highwater(first) == await end_of(reader, first))

    await wait_until(is_fetched, "the first record to be fetched")
    # The reader asks for the other partition only, so the first one stays in its buffer.
    await producer.send_and_wait(other.topic, b"of the other", b"room", other.partition)
    assert await next_value(reader, other) == b"of the other"
    assert await next_value(reader, first) == b"buffered"
    await producer.send_and_wait(first.topic, b"after it", b"room", first.partition)
    assert await next_value(reader) == b"after it"


async def end_of(reader: AIOKafkaConsumer, log: TopicPartition) -> int:
    end: int = (await reader.end_offsets([log]))[log]
    return end


async def test_a_seek_and_a_new_assignment_end_a_fetch_that_waits(
    reader: AIOKafkaConsumer, producer: SigningProducer, logs: list[TopicPartition]
) -> None:
    first, other = logs
    for log in logs:
        await producer.send_and_wait(log.topic, str(log.partition).encode(), b"room", log.partition)
        assert await next_value(reader) == str(log.partition).encode()
    reader.seek(first, await end_of(reader, first) - 1)
    assert await next_value(reader) == b"0"
    reader.assign([other])
    reader.seek(other, await end_of(reader, other) - 1)
    assert await next_value(reader) == b"1"


@pytest.mark.parametrize("reader", [int(10 * DEADLINE_MS)], ids=["lingers"], indirect=True)
async def test_records_gather_after_a_small_fetch_and_not_after_a_large_one(
    reader: AIOKafkaConsumer, producer: SigningProducer, logs: list[TopicPartition]
) -> None:
    log = logs[0]
    for _ in range(2):
        await producer.send_and_wait(log.topic, bytes(2 * LINGER_BYTES_MAX), b"room", log.partition)
        assert len(await next_value(reader)) == 2 * LINGER_BYTES_MAX
    begin = await end_of(reader, log)
    await producer.send_and_wait(log.topic, b"small", b"room", log.partition)
    assert await next_value(reader) == b"small"
    fetches = fetch_count()
    await producer.send_and_wait(log.topic, b"gathers", b"room", log.partition)
    # The linger time is longer than the test, but a seek ends it.
    reader.seek(log, begin)
    assert [await next_value(reader), await next_value(reader)] == [b"small", b"gathers"]
    assert fetch_count() == fetches + 1


async def test_record_arrives_after_the_broker_has_lost_the_fetch_session(
    reader: AIOKafkaConsumer, producer: SigningProducer, logs: list[TopicPartition]
) -> None:
    log = logs[0]
    sessions = reader._fetcher._client._sessions
    await producer.send_and_wait(log.topic, b"first", b"room", log.partition)
    assert await next_value(reader) == b"first"
    (session,) = sessions.values()
    assert session.id, "the broker has a session"
    # A new session gets another number: this broker knows none with the old one.
    session.id += 1
    await producer.send_and_wait(log.topic, b"second", b"room", log.partition)
    assert await next_value(reader) == b"second"
    await producer.send_and_wait(log.topic, b"third", b"room", log.partition)
    assert await next_value(reader) == b"third"
