"""The door to Kafka: clients made the one way that keeps what was promised."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

RECORD_BYTES_MAX = 4 * 1024 * 1024
FETCH_BYTES_MAX = 16 * 1024 * 1024
# One batch of a partition goes out at a time; 16 KB, the default, is three window records and a round trip for them.
BATCH_BYTES_MAX = 1024 * 1024


def make_producer(bootstrap_servers: str, *, linger_ms: int = 2) -> AIOKafkaProducer:
    """A producer whose every acknowledgement means kept: acks=all and idempotent (retries make no copies)."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        acks="all",
        enable_idempotence=True,
        linger_ms=linger_ms,
        max_batch_size=BATCH_BYTES_MAX,
        max_request_size=RECORD_BYTES_MAX,
        request_timeout_ms=20_000,
    )


def make_group_consumer(bootstrap_servers: str, group: str, instance: str) -> AIOKafkaConsumer:
    """A consumer that never commits by itself and starts at the beginning of what is kept.

    instance: a stable name (empty for none) makes the member static, so that a restart needs no session time-out.
    Partitions of equal numbers go to one member (range assignment over topics of equal counts).
    """
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        group_id=group,
        group_instance_id=instance or None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        partition_assignment_strategy=(RangePartitionAssignor,),
        session_timeout_ms=10_000,
        heartbeat_interval_ms=1_000,
        rebalance_timeout_ms=60_000,
        max_poll_interval_ms=7 * 86_400_000,
        fetch_max_wait_ms=50,
        fetch_max_bytes=FETCH_BYTES_MAX,
        max_partition_fetch_bytes=RECORD_BYTES_MAX,
    )


def make_reader(bootstrap_servers: str, **options: Any) -> AIOKafkaConsumer:
    """A consumer without a group, for reading at positions that we choose."""
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        enable_auto_commit=False,
        fetch_max_wait_ms=50,
        fetch_max_bytes=FETCH_BYTES_MAX,
        max_partition_fetch_bytes=RECORD_BYTES_MAX,
        **{"auto_offset_reset": "earliest", **options},
    )


@asynccontextmanager
async def admin(bootstrap_servers: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for topics, started and closed again."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=20_000)
    try:
        await client.start()
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def reader(bootstrap_servers: str, **options: Any) -> AsyncIterator[AIOKafkaConsumer]:
    """A consumer without a group, started and stopped again."""
    client = make_reader(bootstrap_servers, **options)
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


@asynccontextmanager
async def producer(bootstrap_servers: str) -> AsyncIterator[AIOKafkaProducer]:
    """A producer, started and stopped (and so flushed) again."""
    client = make_producer(bootstrap_servers)
    await client.start()
    try:
        yield client
    finally:
        await client.stop()
