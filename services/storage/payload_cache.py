"""The payload cache in Redis, by session and ten seconds of event time. It may be lost at any time."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError

from services.contract.user_errors import BraidError
from services.runtime.dependencies import Dependency
from services.runtime.monotonic_clock import monotonic_us
from services.runtime.settings import RedisSettings

BUCKET_US = 10_000_000
REST_AFTER_FAILURE_US = 1_000_000
# Larger pipelines are slower: each copy on the way to the socket then exceeds the processor cache.
PIPELINE_BYTES = 2 * 1024 * 1024
POLICY = "noeviction"
_SEPARATOR = b"\0"
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


class _PackedConnection(AbstractConnection):
    """A connection that accepts commands with packed arguments (`_hset`) beside those that hiredis packs."""

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        pieces: list[bytes] = []
        for command in commands:
            name, *arguments = command
            if arguments and isinstance(arguments[0], list):
                pieces += arguments[0]
            else:
                pieces.append(pack_command((name, *arguments)))
        return [b"".join(pieces)]


def _hset(key: str, fields: Sequence[bytes]) -> list[bytes]:
    """Return a packed HSET; `fields` has three pieces for each field (`_field`)."""
    name = key.encode()
    return [b"*%d\r\n$4\r\nHSET\r\n$%d\r\n%b\r\n" % (2 + len(fields) // 3 * 2, len(name), name), *fields]


def _field(name: str, content_type: str, body: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a field and its value in Redis's protocol; the body is copied only once, when all pieces are joined."""
    field, kind = name.encode(), content_type.encode() + _SEPARATOR
    return b"$%d\r\n%b\r\n$%d\r\n%b" % (len(field), field, len(kind) + len(body), kind), body, b"\r\n"


class PayloadCache:
    """Writes and reads payloads in one pipeline per batch; a failure is counted as a miss and never raised.

    After a failure it is not used for a second, so an outage costs at most one time-out per second.
    """

    @classmethod
    def from_settings(cls, settings: RedisSettings) -> PayloadCache:
        """Connect with the address and the credentials in the settings."""
        return cls(settings.url, settings.ttl_s, settings.timeout_ms, settings.access())

    def __init__(self, url: str, ttl_s: int, timeout_ms: int, access: Mapping[str, Any] | None = None) -> None:
        timeout_s = timeout_ms / 1000
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=4,
            timeout=timeout_s,
            # `_replies` has one timer for the pipeline: the client's timer for each reply costs as much as reading it.
            socket_timeout=None,
            socket_connect_timeout=timeout_s,
            # The default repeats a pipeline up to ten times, which blocks for many seconds if the server is paused.
            retry=Retry(ExponentialBackoff(cap=0.05, base=0.01), 1),
            **(access or {}),
        )
        # The pool's own class has TLS or not, depending on the address.
        pool.connection_class = type("Connection", (_PackedConnection, pool.connection_class), {})
        self._redis: Redis = Redis(connection_pool=pool)
        self._ttl_s, self._timeout_s = ttl_s, timeout_s
        self._rest_until_us = 0
        self.errors = 0

    async def check_policy(self) -> None:
        """Raise EvictionPolicyError if Redis may evict payloads; an unreachable Redis is only logged."""
        try:
            async with asyncio.timeout(self._timeout_s):
                policy = (await self._redis.config_get("maxmemory-policy")).get("maxmemory-policy")
        except (RedisError, OSError, TimeoutError) as error:
            _log.warning("cannot read the eviction policy of Redis", extra={"why": repr(error)})
            return
        if policy != POLICY:
            raise EvictionPolicyError(
                f"Redis runs with maxmemory-policy {policy}.",
                "Under memory pressure it would drop payloads silently.",
                f"Run `redis-cli config set maxmemory-policy {POLICY}`, or set redis.any_eviction_policy (payloads are "
                "then read from Kafka more often).",
            )

    async def ping(self) -> None:
        """Raise RedisError, OSError or TimeoutError if Redis does not answer."""
        async with asyncio.timeout(self._timeout_s):
            await self._redis.ping()

    async def put(self, batch: Sequence[CacheEntry]) -> None:
        """Store the payloads of a batch for ttl_s seconds."""
        if self._resting():
            return
        fields: dict[str, list[bytes]] = defaultdict(list)
        size = 0
        for session, modality, t_us, partition, offset, content_type, body in batch:
            fields[_key(session, t_us // BUCKET_US)] += _field(
                field_of(modality, partition, offset), content_type, body
            )
            size += len(body)
            if size >= PIPELINE_BYTES:
                await self._put(fields)
                fields.clear()
                size = 0
        await self._put(fields)

    async def _put(self, fields: Mapping[str, list[bytes]]) -> None:
        if not fields or self._resting():
            return
        pipeline = self._redis.pipeline(transaction=False)
        for key, packed in fields.items():
            pipeline.execute_command("HSET", _hset(key, packed))
            # Set in each batch, because Redis may have lost the key; NX, so that it is never extended.
            pipeline.expire(key, self._ttl_s, nx=True)
        errors = [reply for reply in await self._replies(pipeline) or () if isinstance(reply, Exception)]
        if errors:
            self._on_failure(errors[0])

    async def get(self, requests: Sequence[PayloadRequest]) -> list[Payload | None]:
        """Return the payloads in the order of the requests, None for each that is not cached."""
        if not requests or self._resting():
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
                    kind, _, body = value.partition(_SEPARATOR)
                    payloads[place] = Payload(kind.decode(), body)
        return payloads

    async def _replies(self, pipeline: Pipeline) -> list[Any] | None:
        """Return the reply to each command, None if Redis does not answer."""
        try:
            async with asyncio.timeout(self._timeout_s):
                replies: list[Any] = await pipeline.execute(raise_on_error=False)
                return replies
        except (RedisError, OSError, TimeoutError) as error:
            self._on_failure(error)
            return None

    async def forget(self, session: str) -> int | None:
        """Delete the payloads of a session; return the number of keys, None if Redis does not answer."""
        prefix = key_of(session, 0).rpartition(":")[0]
        # The prefix needs no escaping: braces have no meaning in a pattern of Redis.
        try:
            keys, cursor = set[bytes | str](), None
            while cursor != 0:
                async with asyncio.timeout(self._timeout_s):
                    cursor, scanned = await self._redis.scan(cursor or 0, match=f"{prefix}:*", count=1_000)
                keys.update(scanned)
            async with asyncio.timeout(self._timeout_s):
                return int(await self._redis.unlink(*keys)) if keys else 0
        except (RedisError, OSError, TimeoutError) as error:
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
