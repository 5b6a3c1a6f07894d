"""Offsets are not counts: transactions, deleted records and changed topics, on a real broker (docs/operate.md has the table)."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewPartitions, RecordsToDelete

from services.contract import cloudevents
from services.contract.partitioner import partition_of
from services.kafka import clients, topic_admin
from services.kafka.log_reader import read_newest
from services.kafka.open_transactions import find_open_transactions
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings
from tests.integration.session import read_topic
from tests.waiting import wait_until

PARTITIONS = 2


@pytest.fixture(scope="module")
def own_settings(settings: Settings) -> Settings:
    """Settings with topics of this file, which may be deleted."""
    prefix = f"{settings.topics.prefix}-offsets"
    topics = settings.topics.model_copy(update={"prefix": prefix, "partitions": PARTITIONS})
    kafka = settings.kafka.model_copy(update={"group_prefix": prefix})
    return settings.model_copy(update={"topics": topics, "kafka": kafka})


@pytest.fixture(scope="module")
async def aligner(stack: LocalStack, own_settings: Settings) -> AsyncIterator[ServiceProcess]:
    """A running aligner of these topics, with short idle timeouts."""
    async with clients.admin(own_settings.kafka) as admin:
        await topic_admin.create_missing_topics(admin, own_settings)
    environment = stack.environment() | {
        "BRAID_TOPICS__PREFIX": own_settings.topics.prefix,
        "BRAID_TOPICS__PARTITIONS": str(PARTITIONS),
        "BRAID_KAFKA__GROUP_PREFIX": own_settings.kafka.group_prefix,
        "BRAID_ALIGNMENT__SESSION_IDLE_MS": "300",
    }
    process = ServiceProcess("aligner", stack.folder, environment, number=2, guest=True)
    process.start()
    await process.wait_until_ready()
    yield process
    assert await process.child.stop() == 0, process.child.log_tail(40)


def text_log(settings: Settings, session: str) -> TopicPartition:
    return TopicPartition(settings.topic_names().media("text"), partition_of(session.encode(), PARTITIONS))


def neighbour(session: str) -> str:
    """Return another session of the same partition."""
    names = (f"neighbour {n} of {session}" for n in range(100))
    return next(name for name in names if text_log_number(name) == text_log_number(session))


def text_log_number(session: str) -> int:
    return partition_of(session.encode(), PARTITIONS)


async def send(producer: AIOKafkaProducer, log: TopicPartition, session: str, *ids: str) -> None:
    for id in ids:
        headers = cloudevents.build_headers(
            session=session,
            source="/devices/phone",
            id=id,
            type=cloudevents.media_type("text"),
            t_us=time.time_ns() // 1000,
            content_type="text/plain",
        )
        await producer.send_and_wait(
            log.topic, b"seven", key=session.encode(), partition=log.partition, headers=headers
        )


@asynccontextmanager
async def transactional(settings: Settings, name: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap_servers, transactional_id=name)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def wait_for_windows(settings: Settings, session: str, ids: Sequence[str]) -> None:
    """Wait until the final windows of a session hold exactly these chunks."""

    async def members() -> set[str]:
        windows = await read_topic(settings, settings.topic_names().windows)
        return {
            member["id"]
            for window in windows
            if window["session"] == session and window["final"]
            for stream in window["modalities"].values()
            for member in stream["members"]
        }

    async def complete() -> bool:
        return await members() == set(ids)

    await wait_until(complete, f"windows of {session} with {ids}")


async def wait_for_log_line(process: ServiceProcess, text: str, count: int = 1) -> list[dict[str, Any]]:
    async def lines() -> list[dict[str, Any]] | None:
        raw = [line for line in process.child.log.read_text().splitlines() if text in line]
        return [json.loads(line[line.index("{") :]) for line in raw] if len(raw) >= count else None

    return await wait_until(lines, f"log line {text!r}")


async def test_windows_come_after_a_committed_transaction_without_a_further_record(
    own_settings: Settings, aligner: ServiceProcess
) -> None:
    session = "committed"
    async with transactional(own_settings, session) as producer, producer.transaction():
        await send(producer, text_log(own_settings, session), session, "1", "2")
    async with clients.reader(own_settings.kafka) as reader:
        # The newest offset is that of the marker.
        assert len(await read_newest(reader, text_log(own_settings, session), 1)) == 1
    await wait_for_windows(own_settings, session, ["1", "2"])


# text log    open: aborted 1 | plain 1 (waits) | abort marker
async def test_open_transaction_holds_back_what_is_behind_it_and_an_aborted_one_leaves_no_window(
    own_settings: Settings, aligner: ServiceProcess
) -> None:
    session = "aborted"
    behind, log = neighbour(session), text_log(own_settings, session)
    async with (
        transactional(own_settings, session) as producer,
        clients.producer(own_settings.kafka) as plain,
    ):
        await producer.begin_transaction()
        await send(producer, log, session, "1")
        await send(plain, log, behind, "1")

        async def lag_is_visible() -> bool:
            return aligner.read_metric("braid_consumer_lag_records") >= 2

        await wait_until(lag_is_visible, "a lag of the records behind the open transaction")
        assert list(await find_open_transactions(own_settings.kafka, [log])) == [log]
        assert not [
            w for w in await read_topic(own_settings, own_settings.topic_names().windows) if w["session"] == behind
        ]
        await producer.abort_transaction()
    await wait_for_windows(own_settings, behind, ["1"])
    await wait_for_windows(own_settings, session, [])

    async def lag_is_gone() -> bool:
        return aligner.read_metric("braid_consumer_lag_records") == 0

    await wait_until(lag_is_gone, "no lag behind the marker")
    assert not await find_open_transactions(own_settings.kafka, [log])


async def test_records_deleted_while_the_aligner_reads_are_counted_and_the_others_get_windows(
    own_settings: Settings, aligner: ServiceProcess
) -> None:
    session = "deleted"
    log = text_log(own_settings, session)
    read = aligner.read_metric("braid_events_consumed_total")
    async with clients.producer(own_settings.kafka) as producer, clients.admin(own_settings.kafka) as admin:
        async with clients.reader(own_settings.kafka) as reader:
            begin = (await reader.end_offsets([log]))[log]
        aligner.child.signal(signal.SIGSTOP)
        try:
            # The aligner may hold an answer to its last request with the first record: that one is not lost then.
            await send(producer, log, session, *(str(n) for n in range(6)))
            await admin.delete_records({log: RecordsToDelete(before_offset=begin + 4)})
        finally:
            aligner.child.signal(signal.SIGCONT)

        async def counted() -> bool:
            lost = aligner.read_metric("braid_records_lost_total")
            return bool(lost) and lost + aligner.read_metric("braid_events_consumed_total") - read == 6

        await wait_until(counted, "every record to be read or counted as lost")
    (line,) = await wait_for_log_line(aligner, "records were deleted before they were read")
    assert (line["modality"], line["partition"]) == ("text", log.partition)

    async def windows() -> bool:
        values = await read_topic(own_settings, own_settings.topic_names().windows)
        finals = [w for w in values if w["session"] == session and w["final"]]
        ids = {m["id"] for w in finals for s in w["modalities"].values() for m in s["members"]}
        return {"4", "5"} <= ids

    await wait_until(windows, "windows of what was left")


async def test_log_that_ends_before_the_commit_is_read_from_its_beginning(
    own_settings: Settings, aligner: ServiceProcess
) -> None:
    session = "truncated"
    log = text_log(own_settings, session)
    assert await aligner.child.stop() == 0
    group = AIOKafkaConsumer(
        bootstrap_servers=own_settings.kafka.bootstrap_servers, group_id=f"{own_settings.kafka.group_prefix}-aligner"
    )
    group.assign([log])
    await group.start()
    try:
        await group.commit({log: (await group.end_offsets([log]))[log] + 1_000})
    finally:
        await group.stop()
    async with clients.producer(own_settings.kafka) as producer:
        await send(producer, log, session, "1")
    aligner.start()
    await wait_for_windows(own_settings, session, ["1"])
    await wait_for_log_line(aligner, "a log ends before the committed offset")


async def test_topic_that_is_deleted_makes_the_aligner_wait_and_created_again_is_read_from_its_beginning(
    own_settings: Settings, aligner: ServiceProcess
) -> None:
    session = "recreated"
    log = text_log(own_settings, session)
    async with clients.admin(own_settings.kafka) as admin:
        await admin.delete_topics([log.topic])
        await wait_for_log_line(aligner, f"{log.topic} does not exist")
        await topic_admin.create_missing_topics(admin, own_settings)
    async with clients.producer(own_settings.kafka) as producer:
        await send(producer, log, session, "1", "2")
    await wait_for_windows(own_settings, session, ["1", "2"])
    assert aligner.child.running


async def test_added_partitions_are_not_read_and_the_others_go_on(
    own_settings: Settings, aligner: ServiceProcess
) -> None:
    session = "beside an added partition"
    log = text_log(own_settings, session)
    # After a fast restart Kafka gives a static member its partitions back without a rebalance, and not the lead of the
    # group, which alone would notice the change.
    aligner.child.kill()
    await aligner.restart()
    async with clients.admin(own_settings.kafka) as admin:
        await admin.create_partitions({log.topic: NewPartitions(PARTITIONS + 1)})
    await wait_for_log_line(aligner, f"{log.topic} has {PARTITIONS + 1} partitions")
    async with clients.producer(own_settings.kafka) as producer:
        await send(producer, TopicPartition(log.topic, PARTITIONS), "in the added partition", "1")
        await send(producer, log, session, "1")
    # Braid's own senders divide keys by the partitions that are read.
    moved = next(
        name.encode() for name in map(str, range(99)) if partition_of(name.encode(), PARTITIONS + 1) == PARTITIONS
    )
    async with clients.producer(own_settings.kafka, PARTITIONS) as producer:
        sent = await producer.send_and_wait(log.topic, b"", key=moved)
    assert sent.partition == partition_of(moved, PARTITIONS)
    await wait_for_windows(own_settings, session, ["1"])
    assert aligner.get("/readyz") is None
    dead = await read_topic(own_settings, own_settings.topic_names().dead)
    assert not [letter for letter in dead if letter["partition"] == PARTITIONS], "it waits in its log"
