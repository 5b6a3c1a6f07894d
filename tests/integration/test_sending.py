"""Sending several records together."""

from __future__ import annotations

import pytest
from aiokafka.admin import NewTopic
from aiokafka.structs import ConsumerRecord

from services.kafka import clients
from services.runtime.settings import Settings
from tests.waiting import DEADLINE_MS

KEY = b"sent together"


async def test_records_sent_together_stay_in_order_across_batches(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "BATCH_BYTES_MAX", 400)
    servers, topic = settings.kafka.bootstrap_servers, "sent-together"
    async with clients.admin(servers) as admin:
        config = {"message.timestamp.type": "LogAppendTime"}
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1, topic_configs=config)])
    headers = [("content-type", b"application/json")]
    # The third is larger than a batch may be and gets a batch of its own.
    values = [b"%d" % n * size for n, size in enumerate([1, 200, 900, 50, 200, 100, 1], 1)]
    async with clients.producer(servers) as producer:
        appended_ms = await clients.send_all(producer, topic, 0, [(KEY, value, headers) for value in values])
        assert await clients.send_all(producer, topic, 0, []) == []
    async with clients.reader(servers) as reader:
        reader.subscribe([topic])
        records_read: list[ConsumerRecord] = []
        while len(records_read) < len(values):
            fetched = await reader.getmany(timeout_ms=round(DEADLINE_MS))
            assert fetched, f"only {len(records_read)} records were read"
            records_read += [record for records in fetched.values() for record in records]
    assert [(record.key, record.value) for record in records_read] == [(KEY, value) for value in values]
    assert [record.timestamp for record in records_read] == appended_ms
    assert [list(record.headers) for record in records_read] == [headers] * len(values)
