"""The Redis window: payloads by session and ten seconds of event time. A cache: it may vanish at any instant."""

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

from services.contract.errors import BraidError
from services.runtime.clock import monotonic_us
from services.runtime.settings import RedisSettings

BUCKET_US = 10_000_000
REST_AFTER_FAILURE_US = 1_000_000
# More at once is slower: each copy of it on the way to the socket then needs memory that is not in the cache.
PIPELINE_BYTES = 2 * 1024 * 1024
POLICY = "noeviction"
_SEPARATOR = b"\0"
_log = logging.getLogger(__name__)


class CacheEntry(NamedTuple):
    """One payload and where its record stands; t_us is its event time."""

    session: str
    modality: str
    t_us: int
    partition: int
    offset: int
    content_type: str
    body: bytes


class PayloadRequest(NamedTuple):
    """A payload to look for."""

    session: str
    modality: str
    t_us: int
    partition: int
    offset: int
    sha256: str


class Payload(NamedTuple):
    """The bytes of a chunk and their content type; arrived_us: of what was read from the log, 0 where nobody knows."""

    content_type: str
    body: bytes
    arrived_us: int = 0


class EvictionPolicyError(BraidError):
    """Redis is configured to evict payloads silently."""


def key_of(session: str, t_us: int) -> str:
    """The hash in which a payload lies; all buckets of a session share one slot of a Redis Cluster."""
    return _key(session, t_us // BUCKET_US)


@lru_cache(16_384)
def _key(session: str, bucket: int) -> str:
    return f"braid:{{{hashlib.sha256(session.encode()).hexdigest()[:16]}}}:{bucket}"


def field_of(modality: str, partition: int, offset: int) -> str:
    """The field within the hash: the position of the record, which nothing else can have."""
    return f"{modality}:{partition}:{offset}"


class _Packed(AbstractConnection):
    """Takes commands whose arguments are packed already (`_hset`) beside those of the client, which hiredis packs."""

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
    """A packed HSET; fields: three pieces for each (`_field`)."""
    name = key.encode()
    return [b"*%d\r\n$4\r\nHSET\r\n$%d\r\n%b\r\n" % (2 + len(fields) // 3 * 2, len(name), name), *fields]


def _field(name: str, content_type: str, body: bytes) -> tuple[bytes, bytes, bytes]:
    """One field and its value in Redis's protocol; the body is copied once, when all pieces are joined."""
    field, kind = name.encode(), content_type.encode() + _SEPARATOR
    return b"$%d\r\n%b\r\n$%d\r\n%b" % (len(field), field, len(kind) + len(body), kind), body, b"\r\n"


class PayloadCache:
    """Writes and reads payloads in one pipeline a batch; a failure is a miss, counted and never raised.

    After a failure it rests for a second: an outage then costs a batch one time-out a second and no more.
    """

    @classmethod
    def from_settings(cls, settings: RedisSettings) -> PayloadCache:
        """As the settings say where it is and who asks."""
        return cls(settings.url, settings.ttl_s, settings.timeout_ms, settings.access())

    def __init__(self, url: str, ttl_s: int, timeout_ms: int, access: Mapping[str, Any] | None = None) -> None:
        timeout_s = timeout_ms / 1000
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=4,
            timeout=timeout_s,
            # We wait by a timer of our own: the client would make one for each reply, which costs as much as reading it.
            socket_timeout=None,
            socket_connect_timeout=timeout_s,
            # The default runs a whole pipeline again up to ten times: a paused server then holds us for many seconds.
            retry=Retry(ExponentialBackoff(cap=0.05, base=0.01), 1),
            **(access or {}),
        )
        # With or without TLS, whichever the address asks for.
        pool.connection_class = type("Connection", (_Packed, pool.connection_class), {})
        self._redis: Redis = Redis(connection_pool=pool)
        self._ttl_s, self._timeout_s = ttl_s, timeout_s
        self._rest_until_us = 0
        self.errors = 0

    async def check_policy(self) -> None:
        """Demand that Redis refuses rather than evicts. Raises EvictionPolicyError; a Redis that is away is no reason."""
        try:
            async with asyncio.timeout(self._timeout_s):
                found = (await self._redis.config_get("maxmemory-policy")).get("maxmemory-policy")
        except (RedisError, OSError, TimeoutError) as error:
            _log.warning("Redis cannot be asked for its eviction policy", extra={"why": repr(error)})
            return
        if found != POLICY:
            raise EvictionPolicyError(
                f"Redis runs with maxmemory-policy {found}.",
                "Under memory pressure it would drop payloads silently.",
                f"Run `redis-cli config set maxmemory-policy {POLICY}`, or set redis.any_eviction_policy (payloads are "
                "then read from Kafka more often).",
            )

    async def put(self, batch: Sequence[CacheEntry]) -> None:
        """Keep the payloads of a batch for ttl_s seconds."""
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
            # NX, and for each batch: never extended, and there again after a restart has forgotten the key.
            pipeline.expire(key, self._ttl_s, nx=True)
        refused = [reply for reply in await self._replies(pipeline) or () if isinstance(reply, Exception)]
        if refused:
            self._failed(refused[0])

    async def get(self, wanted: Sequence[PayloadRequest]) -> list[Payload | None]:
        """The payloads that are there, in the order asked for; None for each that is not."""
        if not wanted or self._resting():
            return [None] * len(wanted)
        places: dict[str, list[int]] = defaultdict(list)
        for place, item in enumerate(wanted):
            places[key_of(item.session, item.t_us)].append(place)
        pipeline = self._redis.pipeline(transaction=False)
        for key, asked in places.items():
            pipeline.hmget(key, [field_of(w.modality, w.partition, w.offset) for w in map(wanted.__getitem__, asked)])
        found: list[Payload | None] = [None] * len(wanted)
        replies = await self._replies(pipeline)
        if replies is None:
            return found
        for asked, reply in zip(places.values(), replies, strict=True):
            if isinstance(reply, Exception):
                self._failed(reply)
                continue
            for place, value in zip(asked, reply, strict=True):
                if value is not None:
                    kind, _, body = value.partition(_SEPARATOR)
                    found[place] = Payload(kind.decode(), body)
        return found

    async def _replies(self, pipeline: Pipeline) -> list[Any] | None:
        """What Redis answers to each command, None where it does not answer."""
        try:
            async with asyncio.timeout(self._timeout_s):
                replies: list[Any] = await pipeline.execute(raise_on_error=False)
                return replies
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return None

    async def forget(self, session: str) -> int | None:
        """Destroy all that is kept of a session: how many keys, None where Redis does not answer."""
        prefix = key_of(session, 0).rpartition(":")[0]
        # What a key's name holds besides letters are braces: no sign of a pattern.
        try:
            keys, cursor = set[bytes | str](), None
            while cursor != 0:
                async with asyncio.timeout(self._timeout_s):
                    cursor, found = await self._redis.scan(cursor or 0, match=f"{prefix}:*", count=1_000)
                keys.update(found)
            async with asyncio.timeout(self._timeout_s):
                return int(await self._redis.unlink(*keys)) if keys else 0
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return None

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()

    def _resting(self) -> bool:
        return monotonic_us() < self._rest_until_us

    def _failed(self, error: BaseException) -> None:
        self.errors += 1
        self._rest_until_us = monotonic_us() + REST_AFTER_FAILURE_US
        _log.warning("Redis failed, payloads come from the log", extra={"why": type(error).__name__})
