"""Clients for one Redis server, a Redis Cluster, or a master that Sentinels watch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from hiredis import pack_command
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialBackoff
from redis.exceptions import RedisClusterException, RedisError

from services.runtime.settings import RedisSettings

# Everything that a client raises if a server does not answer, or answers with an error.
FAILURES = (RedisError, RedisClusterException, OSError, TimeoutError)
PORT = 6379
RedisClient = Redis | RedisCluster


@dataclass(frozen=True, slots=True)
class RedisServer:
    """Where Redis is.

    Attributes:
        url: As in the settings: several addresses if the mode is cluster or sentinel.
        access: Credentials and TLS for the servers.
        mode: What the addresses are.
        master_name: The name under which Sentinels know the master.
        sentinel_access: Credentials and TLS for the Sentinels.
    """

    url: str
    access: Mapping[str, Any] = field(default_factory=dict)
    mode: Literal["single", "cluster", "sentinel"] = "single"
    master_name: str = ""
    sentinel_access: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_settings(cls, settings: RedisSettings) -> RedisServer:
        """Take the address and the credentials in the settings."""
        return cls(
            settings.url, settings.access(), settings.mode, settings.master_name, settings.access(to_sentinel=True)
        )

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """The host and port of each server or Sentinel in the URL."""
        hosts = urlsplit(self.url).netloc.rpartition("@")[2].split(",")
        parts = [urlsplit(f"//{host}") for host in hosts]
        return [(part.hostname or "127.0.0.1", part.port or PORT) for part in parts]

    @property
    def database(self) -> int:
        """The number at the end of the URL."""
        number = urlsplit(self.url).path.strip("/")
        return int(number) if number.isdecimal() else 0

    @property
    def tls(self) -> dict[str, Any]:
        """The argument that turns TLS on."""
        return {"ssl": True} if self.url.startswith("rediss:") else {}


def connect(server: RedisServer, timeout_s: float) -> RedisClient:
    """Return a client, which connects with its first command; `timeout_s` limits connecting."""
    # The default repeats a pipeline up to ten times, which blocks for many seconds if the server is paused.
    retry = Retry(ExponentialBackoff(cap=0.05, base=0.01), 1)
    if server.mode == "cluster":
        return RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in server.addresses],
            # Sessions whose shard is down are read from Kafka; the others stay in Redis.
            require_full_coverage=False,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=retry,
            **server.tls,
            **server.access,
        )
    # No time limit for each reply: the cache has one timer for a pipeline, and the client's costs as much as reading.
    common = {"socket_timeout": None, "socket_connect_timeout": timeout_s, "retry": retry, **server.access}
    pool: BlockingConnectionPool | SentinelConnectionPool
    if server.mode == "sentinel":
        own = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, **server.tls, **server.sentinel_access}
        sentinel: Any = Sentinel(server.addresses, sentinel_kwargs=own)  # type: ignore[no-untyped-call]
        pool = SentinelConnectionPool(  # type: ignore[no-untyped-call]
            server.master_name, sentinel, db=server.database, **server.tls, **common
        )
    else:
        pool = BlockingConnectionPool.from_url(server.url, max_connections=4, timeout=timeout_s, **common)
    # The pool's own class has TLS or not, and asks Sentinels or not.
    pool.connection_class = type("Connection", (_PackedConnection, pool.connection_class), {})
    return Redis(connection_pool=pool)


class _PackedConnection(AbstractConnection):
    """A connection that accepts commands with packed arguments (`pack_hset`) beside those that hiredis packs."""

    def pack_commands(self, commands: Iterable[Iterable[Any]]) -> list[bytes]:
        pieces: list[bytes] = []
        for command in commands:
            name, *arguments = command
            if arguments and isinstance(arguments[0], list):
                pieces += arguments[0]
            else:
                pieces.append(pack_command((name, *arguments)))
        return [b"".join(pieces)]


def pack_field(name: str, head: str, body: bytes) -> tuple[bytes, bytes, bytes]:
    """Return a field and its value in Redis's protocol; the body is copied only once, when all pieces are joined."""
    field_name, kind = name.encode(), head.encode()
    return b"$%d\r\n%b\r\n$%d\r\n%b" % (len(field_name), field_name, len(kind) + len(body), kind), body, b"\r\n"


def pack_hset(key: str, fields: Sequence[bytes]) -> list[bytes]:
    """Return a packed HSET; `fields` has three pieces for each field (`pack_field`)."""
    name = key.encode()
    return [b"*%d\r\n$4\r\nHSET\r\n$%d\r\n%b\r\n" % (2 + len(fields) // 3 * 2, len(name), name), *fields]
