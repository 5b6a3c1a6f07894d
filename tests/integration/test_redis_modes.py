"""The payload cache on a Redis Cluster, behind Sentinels, and on a server that is older than 7.0."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from services.local.redis import LocalRedis
from services.runtime.settings import RedisSettings
from services.storage import payload_cache
from services.storage.payload_cache import CacheEntry, EvictionPolicyError, PayloadCache, PayloadRequest, key_of
from tests.integration.redis_servers import Server, cluster, until_replicated, watched_master
from tests.waiting import wait_until

NOW_US = int(time.time() * 1e6)
SESSIONS = [f"room {n}" for n in range(60)]
BODY = b"\0\xffbytes"


def entries(sessions: list[str] = SESSIONS) -> list[CacheEntry]:
    return [CacheEntry(session, "text", NOW_US, 1, n, "text/plain", BODY) for n, session in enumerate(sessions)]


def requests(sessions: list[str] = SESSIONS) -> list[PayloadRequest]:
    digest = hashlib.sha256(BODY).hexdigest()
    return [PayloadRequest(session, "text", NOW_US, 1, n, digest) for n, session in enumerate(sessions)]


def cache_of(servers: list[Server], mode: Any) -> PayloadCache:
    url = "redis://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return PayloadCache.from_settings(RedisSettings(url=url, mode=mode, timeout_ms=2_000))


async def count_found(cache: PayloadCache) -> int:
    """Return how many payloads are found, past the rest after a failure."""
    return sum(payload is not None and payload.body == BODY for payload in await cache.get(requests()))


async def test_a_cluster_holds_the_payloads_of_all_sessions_with_an_expiry(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        cache = cache_of(nodes[:2], "cluster")
        await cache.check_policy()
        await cache.ping()
        await cache.put(entries())
        assert await count_found(cache) == len(SESSIONS)
        assert cache.errors == 0
        for node in nodes:
            keys = await node.client.keys("*")
            assert len(keys) > 5, "each node has its share"
            assert all([0 < await node.client.ttl(key) <= 120 for key in keys])
        assert await cache.forget(SESSIONS[0]) == 1
        assert await count_found(cache) == len(SESSIONS) - 1
        await nodes[2].client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(EvictionPolicyError):
            await cache.check_policy()
        await cache.close()


async def test_a_slot_that_moves_to_another_node_is_found_there(tmp_path: Path) -> None:
    async with cluster(tmp_path) as nodes:
        cache = cache_of(nodes, "cluster")
        await cache.put(entries())
        key = key_of(SESSIONS[0], NOW_US)
        slot = await nodes[0].client.execute_command("CLUSTER", "KEYSLOT", key)
        owner = slot * 3 // 16_384
        source, target = nodes[owner], nodes[(owner + 1) % 3]
        ids = [await node.client.execute_command("CLUSTER", "MYID") for node in (source, target)]
        await target.client.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        await source.client.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        for name in await source.client.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 100):
            await source.client.execute_command("MIGRATE", "127.0.0.1", target.port, name, 0, 5_000)
        for node in (target, source):
            await node.client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
        await cache.put(entries())
        assert await count_found(cache) == len(SESSIONS)
        assert cache.errors == 0
        await cache.close()


async def test_a_cluster_without_one_of_its_nodes_costs_misses_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_cache, "REST_AFTER_FAILURE_US", 0)
    async with cluster(tmp_path) as nodes:
        cache = cache_of(nodes, "cluster")
        await cache.put(entries())
        nodes[1].child.kill()
        await cache.put(entries())
        assert len(await cache.get(requests())) == len(SESSIONS)
        assert cache.errors > 0
        await cache.close()


async def test_after_a_failover_the_cache_uses_the_new_master(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload_cache, "REST_AFTER_FAILURE_US", 0)
    async with watched_master(tmp_path) as (master, replica, sentinels):
        cache = cache_of(sentinels, "sentinel")
        await cache.check_policy()
        await cache.put(entries())
        await until_replicated(replica)
        assert await count_found(cache) == len(SESSIONS)
        assert cache.errors == 0
        master.child.kill()

        async def stored_again() -> bool | None:
            await cache.put(entries())
            return await count_found(cache) == len(SESSIONS) or None

        await wait_until(stored_again, "the new master")
        assert (await replica.client.info("replication"))["role"] == "master"
        keys = await replica.client.keys("*")
        assert len(keys) == len(SESSIONS)
        assert all([0 < await replica.client.ttl(key) <= 120 for key in keys])
        await cache.close()


async def test_on_a_redis_without_expire_nx_a_bucket_expires_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis = LocalRedis(tmp_path)
    await redis.start()
    cache, client = PayloadCache(redis.url, 3_600, 2_000), Redis.from_url(redis.url)
    # Redis 6.2 answers EXPIRE with an option with "wrong number of arguments"; so does 7.0 to two options too many.
    send = type(client.pipeline()).expire
    monkeypatch.setattr(
        "redis.asyncio.client.Pipeline.expire",
        lambda pipeline, key, ttl_s, nx=False: (
            pipeline.execute_command("EXPIRE", key) if nx else send(pipeline, key, ttl_s)
        ),
    )
    await cache.put(entries())
    keys = await client.keys("*")
    assert len(keys) == len(SESSIONS)
    assert all([0 < await client.ttl(key) <= 3_600 for key in keys])
    for key in keys:
        await client.expire(key, 1_800)
    await cache.put(entries())
    assert all([0 < await client.ttl(key) <= 1_800 for key in keys]), "a later put does not extend it"
    assert cache.errors == 0
    await cache.close()
    await client.aclose()
    await redis.child.stop()


async def test_media_whose_expiry_cannot_be_set_are_deleted(tmp_path: Path) -> None:
    redis = LocalRedis(tmp_path)
    await redis.start()
    client = Redis.from_url(redis.url)
    await client.acl_setuser(
        "writer", enabled=True, nopass=True, keys=["*"], categories=["+@all"], commands=["-expire"]
    )
    cache = PayloadCache(redis.url.replace("//", "//writer:x@"), 3_600, 2_000)
    await cache.put(entries())
    assert await client.keys("*") == []
    await cache.close()
    await client.aclose()
    await redis.child.stop()


async def test_keys_of_a_pipeline_that_failed_get_their_expiry_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload_cache, "REST_AFTER_FAILURE_US", 0)
    redis = LocalRedis(tmp_path)
    await redis.start()
    client = Redis.from_url(redis.url)
    broken, cache = PayloadCache("redis://127.0.0.1:1/0", 3_600, 2_000), PayloadCache(redis.url, 3_600, 2_000)
    monkeypatch.setattr(cache, "_redis", broken._redis)
    await cache.put(entries(["half"]))
    assert cache.errors == 1
    monkeypatch.undo()
    # As if the server had got the first command of that pipeline only.
    key = key_of("half", NOW_US)
    await client.hset(key, "text:1:0", "text/plain\0x")
    await cache.put(entries(["other"]))
    assert 0 < await client.ttl(key) <= 3_600
    for one in (cache, broken):
        await one.close()
    await client.aclose()
    await redis.child.stop()
