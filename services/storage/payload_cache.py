"""The payload cache in Redis, by session and ten seconds of event time. It may be lost at any time."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from redis.asyncio.cluster import RedisCluster
from redis.exceptions import ResponseError

from services.contract.user_errors import BraidError
from services.runtime.monotonic_clock import monotonic_us
from services.runtime.server_watch import Dependency
from services.runtime.settings import RedisSettings
from services.storage.redis_client import FAILURES, RedisServer, connect, pack_field, pack_hset

BUCKET_US = 10_000_000
REST_AFTER_FAILURE_US = 1_000_000
# Larger pipelines are slower: each copy on the way to the socket then exceeds the processor cache.
PIPELINE_BYTES = 2 * 1024 * 1024
# What a payload counts beside its bytes, how many payloads are read with one pipeline, and how many keys are remembered
# whose expiry may not be set.
COMMAND_BYTES, READ_MAX, UNSURE_MAX = 128, 1_024, 4_096
POLICY = "noeviction"
_SEPARATOR = "\0"
_log = logging.getLogger(__name__)


class CacheEntry(NamedTuple):
    """One payload and the position of its record; t_us is its event time."""

    session: str
    modality: str
    t_us: int
    partition: int
    offset: int
    content_type: str
    body: bytes


class PayloadRequest(NamedTuple):
    """The identity of a payload to read."""

    session: str
    modality: str
    t_us: int
    partition: int
    offset: int
    sha256: str


class Payload(NamedTuple):
    """The bytes of a chunk and their content type; arrived_us is the append time, 0 if it is from the cache."""

    content_type: str
    body: bytes
    arrived_us: int = 0


class EvictionPolicyError(BraidError):
    """Redis is configured to evict payloads silently."""


def key_of(session: str, t_us: int) -> str:
    """Return the key of a payload's hash; all buckets of a session share one slot of a Redis Cluster."""
    return _key(session, t_us // BUCKET_US)


@lru_cache(16_384)
def _key(session: str, bucket: int) -> str:
    return f"braid:{{{hashlib.sha256(session.encode()).hexdigest()[:16]}}}:{bucket}"


def field_of(modality: str, partition: int, offset: int) -> str:
    """Return the field within the hash: the position of the record, which is unique."""
    return f"{modality}:{partition}:{offset}"


def _name_and_value(name: str, head: str, body: bytes) -> Sequence[bytes]:
    return name.encode(), head.encode() + body


class PayloadCache:
    """Writes and reads payloads in one pipeline per batch; a failure is counted as a miss and never raised.

    After a failure it is not used for a second, so an outage costs at most one time-out per second.
    """

    @classmethod
    def from_settings(cls, settings: RedisSettings) -> PayloadCache:
        """Connect with the address and the credentials in the settings."""
        return cls(RedisServer.from_settings(settings), settings.ttl_s, settings.timeout_ms)

    def __init__(self, server: RedisServer | str, ttl_s: int, timeout_ms: int) -> None:
        """Prepare a client; `server` may be the URL of a single one."""
        server = RedisServer(server) if isinstance(server, str) else server
        self._redis: Any = connect(server, timeout_ms / 1000)
        # The client of a cluster finds the node of a command by its key, so it needs the words and packs them itself.
        self._is_cluster = server.mode == "cluster"
        self._encode_field: Callable[[str, str, bytes], Sequence[bytes]] = (
            _name_and_value if self._is_cluster else pack_field
        )
        self._ttl_s = ttl_s
        # A cluster or Sentinels are asked first where the master is, each within the time-out.
        self._timeout_s = timeout_ms / 1000 * (1 if server.mode == "single" else 3)
        self._rest_until_us = 0
        self._has_expire_nx = True
        # Keys of pipelines that failed: Redis may have got their HSET and not their EXPIRE.
        self._unsure: dict[str, None] = {}
        self.errors = 0

    async def policies(self) -> set[str]:
        """Return the eviction policies of all servers. Raises what `ping` raises."""
        async with asyncio.timeout(self._timeout_s):
            if not self._is_cluster:
                return {(await self._redis.config_get("maxmemory-policy"))["maxmemory-policy"]}
            await self._redis.initialize()
            replies = [
                await self._redis.config_get("maxmemory-policy", target_nodes=node)
                for node in self._redis.get_primaries()
            ]
            return {reply["maxmemory-policy"] for reply in replies}

    async def check_policy(self) -> None:
        """Raise EvictionPolicyError if Redis may evict payloads; an unreachable Redis is only logged."""
        try:
            policies = await self.policies()
        except (*FAILURES, KeyError) as error:
            _log.warning("cannot read the eviction policy of Redis", extra={"why": repr(error)})
            return
        if policies != {POLICY}:
            raise EvictionPolicyError(
                f"Redis runs with maxmemory-policy {', '.join(sorted(policies - {POLICY}))}.",
                "Under memory pressure it would drop payloads silently.",
                f"Run `redis-cli config set maxmemory-policy {POLICY}`, or set redis.any_eviction_policy (payloads are "
                "then read from Kafka more often).",
            )

    async def ping(self) -> None:
        """Raise one of FAILURES if Redis does not answer."""
        async with asyncio.timeout(self._timeout_s):
            await (self._redis.ping(target_nodes=RedisCluster.PRIMARIES) if self._is_cluster else self._redis.ping())

    async def put(self, batch: Sequence[CacheEntry]) -> None:
        """Store the payloads of a batch for ttl_s seconds."""
        if self._resting():
            return
        fields: dict[str, list[bytes]] = defaultdict(list)
        encode, size = self._encode_field, 0
        for session, modality, t_us, partition, offset, content_type, body in batch:
            fields[_key(session, t_us // BUCKET_US)] += encode(
                field_of(modality, partition, offset), content_type + _SEPARATOR, body
            )
            size += len(body) + COMMAND_BYTES
            if size >= PIPELINE_BYTES:
                await self._put(fields)
                fields.clear()
                size = 0
        await self._put(fields)

    async def _put(self, fields: Mapping[str, Sequence[bytes]]) -> None:
        if not fields or self._resting():
            return
        pipeline = self._redis.pipeline(transaction=False)
        for key, pieces in fields.items():
            if self._is_cluster:
                pipeline.execute_command("HSET", key, *pieces)
            else:
                pipeline.execute_command("HSET", pack_hset(key, pieces))
        keys = list(dict.fromkeys((*fields, *self._unsure)))
        for key in keys if self._has_expire_nx else ():
            # Set in each batch, because Redis may have lost the key; NX, so that it is never extended.
            pipeline.expire(key, self._ttl_s, nx=True)
        self._unsure |= dict.fromkeys(fields)
        replies = await self._replies(pipeline)
        if replies is None:
            for key in list(self._unsure)[:-UNSURE_MAX]:
                del self._unsure[key]
            return
        without_expiry = [
            key
            for key, reply in zip(keys, replies[len(fields) :] or [None] * len(keys), strict=True)
            if not isinstance(reply, int)
        ]
        for key in keys:
            self._unsure.pop(key, None)
        if without_expiry:
            await self._expire_without_nx(without_expiry, replies[len(fields) :])
        errors = [reply for reply in replies[: len(fields)] if isinstance(reply, Exception)]
        if errors:
            self._on_failure(errors[0])

    async def _expire_without_nx(self, keys: Sequence[str], replies: Sequence[Any]) -> None:
        """Set the expiry of keys that have none, for servers before Redis 7.0, where EXPIRE has no option NX.

        Keys on which that fails as well are deleted: media must not stay for ever.
        """
        refused = next((reply for reply in replies if isinstance(reply, ResponseError)), None)
        if self._has_expire_nx and refused is not None and "argument" in str(refused):
            self._has_expire_nx = False
            _log.info("this Redis is older than 7.0: keys without expiry are asked for first")
        for command in ("ttl", "expire", "unlink"):
            pipeline = self._redis.pipeline(transaction=False)
            for key in keys:
                pipeline.execute_command(command.upper(), key, *([self._ttl_s] if command == "expire" else []))
            results = await self._replies(pipeline) if keys else []
            if results is None:
                self._unsure |= dict.fromkeys(keys)
                return
            # Go on with those that have no expiry yet: -1 is what TTL says of them.
            keys = [
                key
                for key, result in zip(keys, results, strict=True)
                if isinstance(result, Exception) or (command == "ttl" and result == -1)
            ]
        if keys:
            self._on_failure(ResponseError("neither EXPIRE nor UNLINK is allowed"))

    async def get(self, requests: Sequence[PayloadRequest]) -> list[Payload | None]:
        """Return the payloads in the order of the requests, None for each that is not cached."""
        payloads: list[Payload | None] = []
        for begin in range(0, len(requests), READ_MAX):
            payloads += await self._get(requests[begin : begin + READ_MAX])
        return payloads

    async def _get(self, requests: Sequence[PayloadRequest]) -> list[Payload | None]:
        if self._resting():
            return [None] * len(requests)
        places: dict[str, list[int]] = defaultdict(list)
        for place, request in enumerate(requests):
            places[key_of(request.session, request.t_us)].append(place)
        pipeline = self._redis.pipeline(transaction=False)
        for key, in_hash in places.items():
            pipeline.hmget(
                key, [field_of(r.modality, r.partition, r.offset) for r in map(requests.__getitem__, in_hash)]
            )
        payloads: list[Payload | None] = [None] * len(requests)
        replies = await self._replies(pipeline)
        if replies is None:
            return payloads
        for in_hash, reply in zip(places.values(), replies, strict=True):
            if isinstance(reply, Exception):
                self._on_failure(reply)
                continue
            for place, value in zip(in_hash, reply, strict=True):
                if value is not None:
                    kind, _, body = value.partition(b"\0")
                    payloads[place] = Payload(kind.decode(), body)
        return payloads

    async def _replies(self, pipeline: Any) -> list[Any] | None:
        """Return the reply to each command, None if Redis does not answer."""
        try:
            async with asyncio.timeout(self._timeout_s):
                replies: list[Any] = await pipeline.execute(raise_on_error=False)
                return replies
        except FAILURES as error:
            self._on_failure(error)
            return None

    async def forget(self, session: str) -> int | None:
        """Delete the payloads of a session; return the number of keys, None if Redis does not answer."""
        prefix = key_of(session, 0).rpartition(":")[0]
        where: dict[str, Any] = {}
        # The prefix needs no escaping: braces have no meaning in a pattern of Redis.
        try:
            if self._is_cluster:
                async with asyncio.timeout(self._timeout_s):
                    await self._redis.initialize()
                where["target_nodes"] = self._redis.get_node_from_key(f"{prefix}:0")
            keys, cursor = set[bytes | str](), None
            while cursor != 0:
                async with asyncio.timeout(self._timeout_s):
                    cursor, scanned = await self._redis.scan(cursor or 0, match=f"{prefix}:*", count=1_000, **where)
                cursor = next(iter(cursor.values())) if isinstance(cursor, dict) else cursor
                keys.update(scanned)
            async with asyncio.timeout(self._timeout_s):
                return int(await self._redis.unlink(*keys)) if keys else 0
        except FAILURES as error:
            self._on_failure(error)
            return None

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _resting(self) -> bool:
        return monotonic_us() < self._rest_until_us

    def _on_failure(self, error: BaseException) -> None:
        self.errors += 1
        self._rest_until_us = monotonic_us() + REST_AFTER_FAILURE_US
        _log.warning("Redis failed, payloads come from the log", extra={"why": type(error).__name__})


def redis_dependency(settings: RedisSettings) -> Dependency:
    """Return the dependency of services that use the cache; they work without it."""
    cache = lru_cache(1)(lambda: PayloadCache.from_settings(settings))

    async def check() -> None:
        await cache().ping()

    away = "Redis does not answer: payloads are read from Kafka, which makes predictions slower."
    return Dependency("redis", check, away, essential=False)
