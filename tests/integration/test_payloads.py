"""The payload cache: if Redis is paused, emptied or down, payloads come from the log."""

from __future__ import annotations

import asyncio
import hashlib
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete
from redis.asyncio import Redis

from services.contract import cloudevents
from services.contract.topics import Topics
from services.kafka import clients, record_fetcher, topic_admin
from services.kafka.clients import SigningProducer
from services.local.redis import LocalRedis
from services.runtime.metric_definitions import FETCHES
from services.runtime.monotonic_clock import monotonic_us
from services.runtime.settings import Settings
from services.storage import payload_cache
from services.storage.payload_cache import (
    CacheEntry,
    EvictionPolicyError,
    Payload,
    PayloadCache,
    PayloadRequest,
    key_of,
)
from services.storage.payload_log import PayloadLog
from tests.waiting import DEADLINE_MS, wait_until

SESSION = "the {payload} room"
NOW_US = int(time.time() * 1e6)
TIMEOUT_MS = round(DEADLINE_MS)


def stored(n: int, body: bytes = b"x") -> CacheEntry:
    return CacheEntry(SESSION, "text", NOW_US, 1, n, "text/plain", body)


def request_of(n: int, body: bytes = b"x") -> PayloadRequest:
    return PayloadRequest(SESSION, "text", NOW_US, 1, n, hashlib.sha256(body).hexdigest())


async def test_a_payload_is_found_with_its_content_type(settings: Settings) -> None:
    window = PayloadCache(settings.redis.url, 3_600, TIMEOUT_MS)
    await window.put([stored(1, b"\0\xffbytes"), stored(2)])
    assert await window.get([request_of(2), request_of(3), request_of(1)]) == [
        Payload("text/plain", b"x"),
        None,
        Payload("text/plain", b"\0\xffbytes"),
    ]
    assert window.errors == 0
    await window.close()


async def test_a_large_batch_is_written_in_parts(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload_cache, "PIPELINE_BYTES", 10)
    window = PayloadCache(settings.redis.url, 3_600, TIMEOUT_MS)
    bodies = [b"%d" % n * 7 for n in range(10, 15)]
    await window.put([stored(n, body) for n, body in enumerate(bodies)])
    payloads = await window.get([request_of(n, body) for n, body in enumerate(bodies)])
    assert [payload and payload.body for payload in payloads] == bodies
    await window.close()


async def test_a_later_put_does_not_extend_the_expiry_of_a_bucket(settings: Settings) -> None:
    window, client = PayloadCache(settings.redis.url, 3_600, TIMEOUT_MS), Redis.from_url(settings.redis.url)
    key = key_of("short", NOW_US)
    await window.put([CacheEntry("short", "text", NOW_US, 0, 1, "t", b"x")])
    await client.expire(key, 1_800)
    await window.put([CacheEntry("short", "text", NOW_US, 0, 2, "t", b"x")])
    assert 0 < await client.ttl(key) <= 1_800
    await window.close()
    await client.aclose()


async def test_without_redis_a_payload_is_a_miss(tmp_path: Path) -> None:
    redis = LocalRedis(tmp_path)
    await redis.start()
    window = PayloadCache(redis.url, 3_600, TIMEOUT_MS)
    await window.put([stored(1)])
    redis.child.kill()
    await window.put([stored(2)])
    assert await window.get([request_of(1)]) == [None]
    assert window.errors >= 1
    await window.close()


async def test_a_paused_redis_costs_one_timeout_and_is_then_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_us = monotonic_us()
    monkeypatch.setattr(payload_cache, "monotonic_us", lambda: now_us)
    redis = LocalRedis(tmp_path)
    await redis.start()
    writer, reader = PayloadCache(redis.url, 3_600, TIMEOUT_MS), PayloadCache(redis.url, 3_600, 300)
    await writer.put([stored(1)])
    redis.child.signal(signal.SIGSTOP)
    assert await reader.get([request_of(1)]) == [None]
    assert await reader.get([request_of(1)]) == [None]
    assert reader.errors == 1
    redis.child.signal(signal.SIGCONT)

    # The request that was broken off must not leave a reply behind for the next one.
    async def read_again() -> Payload | None:
        nonlocal now_us
        now_us += payload_cache.REST_AFTER_FAILURE_US
        return (await reader.get([request_of(1)]))[0]

    assert (await wait_until(read_again, "Redis to answer again")).body == stored(1).body
    assert await reader.get([request_of(2)]) == [None]
    await writer.close()
    await reader.close()
    await redis.child.stop()


async def test_a_redis_that_evicts_keys_is_rejected_with_the_fix(tmp_path: Path) -> None:
    redis = LocalRedis(tmp_path)
    await redis.start()
    client, window = Redis.from_url(redis.url), PayloadCache(redis.url, 3_600, TIMEOUT_MS)
    await window.check_policy()
    await client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(EvictionPolicyError, match="config set maxmemory-policy noeviction"):
        await window.check_policy()
    await window.close()
    await client.aclose()
    await redis.child.stop()


@pytest.fixture
async def own_topics(settings: Settings) -> Topics:
    """Topics of one test, whose logs begin at offset 0."""
    prefix = f"{settings.topics.prefix}-payloads-{time.time_ns()}"
    own = settings.model_copy(update={"topics": settings.topics.model_copy(update={"prefix": prefix, "partitions": 2})})
    async with clients.admin(settings.kafka) as admin:
        await topic_admin.create_missing_topics(admin, own)
    return own.topic_names()


async def send(producer: SigningProducer, log: TopicPartition, bodies: Sequence[bytes]) -> None:
    """Send texts of the session to one partition."""
    for n, body in enumerate(bodies):
        headers = cloudevents.build_headers(
            session=SESSION,
            source="/devices/d/text",
            id=str(n),
            type="braid.media.text.v1",
            t_us=NOW_US,
            content_type="text/plain",
        )
        await producer.send(log.topic, body, key=SESSION.encode(), partition=log.partition, headers=headers)
    await producer.flush()


def fetch_count() -> float:
    (metric,) = FETCHES.collect()
    return metric.samples[0].value


def log_request(modality: str, number: int, offset: int, session: str, body: bytes) -> PayloadRequest:
    return PayloadRequest(session, modality, NOW_US, number, offset, hashlib.sha256(body).hexdigest())


async def test_payloads_that_redis_lost_are_read_from_the_log(settings: Settings, own_topics: Topics) -> None:
    bodies = [b"text %d" % n for n in range(6)]
    async with clients.producer(settings.kafka) as producer, clients.admin(settings.kafka) as admin:
        log = TopicPartition(own_topics.media("text"), 1)
        await send(producer, log, bodies)
        await admin.delete_records({log: RecordsToDelete(before_offset=2)})
    requests = {n: log_request("text", 1, n, SESSION, body) for n, body in enumerate(bodies) if n != 3}
    wrong = {
        10: log_request("text", 1, 3, SESSION, b"other"),
        11: log_request("text", 1, 4, "another room", bodies[4]),
        12: log_request("text", 1, 1_000, SESSION, b""),
        13: log_request("audio", 0, 0, SESSION, b""),
    }
    async with clients.reader(settings.kafka) as consumer:
        payloads = await PayloadLog(consumer, own_topics).get(requests | wrong)
    assert {n: p.body for n, p in payloads.items()} == {n: bodies[n] for n in (2, 4, 5)}


@pytest.mark.parametrize("response_bytes", [record_fetcher.RESPONSE_BYTES_MAX, 1])
async def test_the_payloads_of_a_batch_come_from_all_logs_at_once_and_are_kept_for_the_next_one(
    settings: Settings, own_topics: Topics, monkeypatch: pytest.MonkeyPatch, response_bytes: int
) -> None:
    # A response of one byte has room for one of the logs: the others must still come.
    monkeypatch.setattr(record_fetcher, "RESPONSE_BYTES_MAX", response_bytes)
    bodies = [b"%d " % n * 500 for n in range(300)]
    logs = [TopicPartition(own_topics.media(m), number) for m in ("text", "video", "audio") for number in range(2)]
    async with clients.producer(settings.kafka) as producer:
        await asyncio.gather(*(send(producer, log, bodies) for log in logs))

    def batch(offsets: Sequence[int]) -> dict[int, PayloadRequest]:
        places = [(log, offset) for log in logs for offset in offsets]
        return {
            n: log_request(log.topic.split(".")[-2], log.partition, offset, SESSION, bodies[offset])
            for n, (log, offset) in enumerate(places)
        }

    async with clients.reader(settings.kafka) as consumer:
        log, before = PayloadLog(consumer, own_topics), fetch_count()
        for offsets in ([3, 5, 7, 150, 299], [4, 6, 151]):
            requests = batch(offsets)
            payloads = await log.get(requests)
            assert {n: p.body for n, p in payloads.items()} == {
                n: bodies[offset] for n, offset in enumerate(offsets * len(logs))
            }
            fetches, before = fetch_count() - before, fetch_count()
    if response_bytes > 1:
        assert fetches == 0
