"""Producers compress with every codec that the settings name, and our consumers read it."""

from __future__ import annotations

from typing import get_args

import pytest
from aiokafka import TopicPartition

from services.kafka import clients
from services.kafka.batch_decoding import FetchedBatches, FetchedRecords
from services.runtime.settings import KafkaSettings

VALUE = b'{"confidence":0.5,"label":"seven"}' * 100


@pytest.mark.parametrize("codec", get_args(KafkaSettings.model_fields["compression"].annotation))
async def test_records_of_each_compression_are_read(codec: str) -> None:
    producer = clients.make_producer("127.0.0.1:1", compression=codec)
    try:
        batch = producer.create_batch()
        for _ in range(3):
            batch.append(timestamp=1, key=b"room", value=VALUE, headers=[])
        data = bytes(batch._build())
    finally:
        await producer.stop()
    assert (len(data) < len(VALUE)) == (codec != "none")
    tp = TopicPartition("topic", 0)
    records = FetchedRecords(tp, FetchedBatches(data), [], 0, None, None, True, 0)
    assert [record.value for record in records] == [VALUE] * 3
