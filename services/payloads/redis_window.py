"""The Redis window: payloads by session and ten seconds of event time. A cache: it may vanish at any instant."""

from __future__ import annotations

import hashlib
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisError

from services.runtime.monotonic import monotonic_us

BUCKET_US = 10_000_000
REST_AFTER_FAILURE_US = 1_000_000
POLICY = "noeviction"
_SEPARATOR = b"\0"
_log = logging.getLogger(__name__)


class Stored(NamedTuple):
    """One payload and where its record stands; t_us is its event time."""

    session: str
    modality: str
    t_us: int
    partition: int
    offset: int
    content_type: str
    body: bytes


class Wanted(NamedTuple):
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


class WrongPolicy(Exception):
    """Redis would evict payloads silently; the message says how to repair it."""


def key_of(session: str, t_us: int) -> str:
    """The hash in which a payload lies; all buckets of a session share one slot of a Redis Cluster."""
    return f"{_prefix(session)}{t_us // BUCKET_US}"


@lru_cache(16_384)
def _prefix(session: str) -> str:
    return f"braid:{{{hashlib.sha256(session.encode()).hexdigest()[:16]}}}:"


def field_of(item: Stored | Wanted) -> str:
    """The field within the hash: the position of the record, which nothing else can have."""
    return f"{item.modality}:{item.partition}:{item.offset}"


class RedisWindow:
    """Writes and reads payloads in one pipeline a batch; a failure is a miss, counted and never raised.

    After a failure it rests for a second: an outage then costs a batch one time-out a second and no more.
    """

    def __init__(self, url: str, ttl_s: int, timeout_ms: int, access: Mapping[str, Any] | None = None) -> None:
        timeout_s = timeout_ms / 1000
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=4,
            timeout=timeout_s,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            # The default runs a whole pipeline again up to ten times: a paused server then holds us for many seconds.
            retry=Retry(ExponentialBackoff(cap=0.05, base=0.01), 1),
            **(access or {}),
        )
        self._redis: Redis = Redis(connection_pool=pool)
        self._ttl_s = ttl_s
        self._rest_until_us = 0
        self.errors = 0

    async def check_policy(self) -> None:
        """Demand that Redis refuses rather than evicts. Raises WrongPolicy; a Redis that is away is no reason."""
        try:
            found = (await self._redis.config_get("maxmemory-policy")).get("maxmemory-policy")
        except RedisError as error:
            _log.warning("Redis cannot be asked for its eviction policy", extra={"why": str(error)})
            return
        if found != POLICY:
            raise WrongPolicy(
                f"Redis runs with maxmemory-policy {found}: under pressure it would drop payloads silently. Run "
                f"`redis-cli config set maxmemory-policy {POLICY}`, or set redis.any_eviction_policy to go on "
                "(payloads are then read from the log more often)"
            )

    async def put(self, batch: Sequence[Stored]) -> None:
        """Keep the payloads of a batch for ttl_s seconds."""
        fields: dict[str, list[str | bytes]] = defaultdict(list)
        for item in batch:
            fields[key_of(item.session, item.t_us)] += (
                field_of(item),
                item.content_type.encode() + _SEPARATOR + item.body,
            )
        if not fields or self._resting():
            return
        pipeline = self._redis.pipeline(transaction=False)
        for key, fields_and_values in fields.items():
            pipeline.execute_command("HSET", key, *fields_and_values)
            # NX, and for each batch: never extended, and there again after a restart has forgotten the key.
            pipeline.expire(key, self._ttl_s, nx=True)
        try:
            replies = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return
        refused = [reply for reply in replies if isinstance(reply, Exception)]
        if refused:
            self._failed(refused[0])

    async def get(self, wanted: Sequence[Wanted]) -> list[Payload | None]:
        """The payloads that are there, in the order asked for; None for each that is not."""
        if not wanted or self._resting():
            return [None] * len(wanted)
        places: dict[str, list[int]] = defaultdict(list)
        for place, item in enumerate(wanted):
            places[key_of(item.session, item.t_us)].append(place)
        pipeline = self._redis.pipeline(transaction=False)
        for key, asked in places.items():
            pipeline.hmget(key, [field_of(wanted[place]) for place in asked])
        found: list[Payload | None] = [None] * len(wanted)
        try:
            replies = await pipeline.execute(raise_on_error=False)
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
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

    async def forget(self, session: str) -> int | None:
        """Destroy all that is kept of a session: how many keys, None where Redis does not answer."""
        prefix = key_of(session, 0).rpartition(":")[0]
        # What a key's name holds besides letters are braces: no sign of a pattern.
        try:
            keys = [key async for key in self._redis.scan_iter(match=f"{prefix}:*", count=1_000)]
            return int(await self._redis.unlink(*keys)) if keys else 0
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return None

    async def close(self) -> None:
        await self._redis.aclose()

    def _resting(self) -> bool:
        return monotonic_us() < self._rest_until_us

    def _failed(self, error: BaseException) -> None:
        self.errors += 1
        self._rest_until_us = monotonic_us() + REST_AFTER_FAILURE_US
        _log.warning("Redis failed, payloads come from the log", extra={"why": type(error).__name__})
