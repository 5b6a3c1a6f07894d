"""The quota of open sessions over restarts of a real aligner that begin inside a period."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable

from aiokafka import AIOKafkaProducer, TopicPartition

from services.contract import cloudevents
from services.inspection.audit.collect import collect_logs
from services.inspection.audit.ledger import build_ledger
from services.kafka import clients, topic_admin
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings
from tests.integration.session import read_topic
from tests.waiting import wait_until

SIZE_MS, SESSIONS_MAX = 3_600_000, 5
# More than the test takes, of 18,000: one in a hundred runs waits for the next period.
NEEDED_S = 170


async def send(producer: AIOKafkaProducer, topic: str, sessions: Iterable[int]) -> None:
    """Send a text of one source to each of these sessions."""
    for n in sessions:
        session, now_us = f"s{n}", time.time_ns() // 1000
        headers = cloudevents.build_headers(
            session=session,
            source="/devices/bridge",
            id=str(now_us),
            type=cloudevents.media_type("text"),
            t_us=now_us,
            content_type="text/plain",
        )
        await producer.send_and_wait(topic, b"seven", key=session.encode(), headers=headers)


async def test_a_restart_inside_a_period_counts_the_sessions_of_a_source_on(
    stack: LocalStack, settings: Settings
) -> None:
    prefix = f"{settings.topics.prefix}-open-sessions"
    own = settings.model_copy(
        update={
            "topics": settings.topics.model_copy(update={"prefix": prefix, "partitions": 1}),
            "kafka": settings.kafka.model_copy(update={"group_prefix": prefix}),
            "alignment": settings.alignment.model_copy(update={"size_ms": SIZE_MS, "hop_ms": SIZE_MS}),
            "quotas": settings.quotas.model_copy(update={"source_sessions_max": SESSIONS_MAX}),
        }
    )
    environment = stack.environment() | {
        "BRAID_TOPICS__PREFIX": prefix,
        "BRAID_TOPICS__PARTITIONS": "1",
        "BRAID_KAFKA__GROUP_PREFIX": prefix,
        "BRAID_ALIGNMENT__SIZE_MS": str(SIZE_MS),
        "BRAID_ALIGNMENT__HOP_MS": str(SIZE_MS),
        "BRAID_ALIGNMENT__SESSION_IDLE_MS": "300",
        "BRAID_QUOTAS__SOURCE_SESSIONS_MAX": str(SESSIONS_MAX),
    }
    topics, period_s = own.topic_names(), own.alignment_config().quota_period_us // 1_000_000
    topic = topics.media("text")

    async def period_has_begun() -> bool:
        return time.time() % period_s < period_s - NEEDED_S

    async with clients.admin(own.kafka) as admin:
        await topic_admin.create_missing_topics(admin, own)
    await wait_until(period_has_begun, "a period that is long enough")
    transactional = AIOKafkaProducer(bootstrap_servers=own.kafka.bootstrap_servers, transactional_id=prefix)
    await transactional.start()
    await transactional.begin_transaction()
    await send(transactional, topic, range(100, 110))
    await transactional.abort_transaction()
    await transactional.stop()

    aligner = ServiceProcess("aligner", stack.folder, environment, number=7)
    async with (
        clients.producer(own.kafka) as producer,
        clients.admin(own.kafka) as admin,
        clients.reader(own.kafka) as reader,
    ):
        media = [TopicPartition(name, 0) for name in topics.media_all]

        async def all_committed() -> bool:
            """Return whether a restart begins behind all records: no window is open any more."""
            ends = await reader.end_offsets(media)
            committed = await admin.list_consumer_group_offsets(f"{prefix}-aligner", partitions=media)
            return all(log in committed and committed[log].offset == ends[log] for log in media)

        for sessions in [(0, 1, 2, 3), (0, 4, 5, 6), (3, 4, 5, 7)]:
            await send(producer, topic, sessions)
            aligner.start()
            await aligner.wait_until_ready()
            await wait_until(all_committed, "all offsets to be committed")
            assert aligner.child.pid is not None
            os.kill(aligner.child.pid, signal.SIGKILL)
            await aligner.child.stop()
        logs = await collect_logs(reader, topics, 1)
    texts = {record.offset: record for record in logs[0].media["text"]}
    assert len({record.timestamp // 1000 // period_s for record in texts.values()}) == 1
    ledger = build_ledger(logs, own.alignment_config(), lambda session: True)
    assert ledger.troubles == []
    assert ledger.balanced
    rejected = [letter for letter in await read_topic(own, topics.dead) if letter["reason"] == "quota"]
    assert [texts[letter["offset"]].key for letter in rejected] == [b"s5", b"s6", b"s5", b"s7"]
    assert "quotas.source_sessions_max" in rejected[0]["detail"]
