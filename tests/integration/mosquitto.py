"""A mosquitto process on loopback without persistence."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from services.local.ports import free_ports
from services.local.process import ChildProcess
from tests.waiting import wait_until


def system_binary(name: str, package: str) -> str:
    """Return the path of a program of a system package, which may only be on the PATH of root."""
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    assert program, f"{name} is not on the PATH: apt-get install {package} (`make test` does it as root on Debian)"
    return program


class Mosquitto:
    """An MQTT broker on a free port, which it keeps when it is started again."""

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
        self.child = ChildProcess("mosquitto", folder)

    async def start(self) -> Mosquitto:
        self.child.start([system_binary("mosquitto", "mosquitto"), "-c", str(self._config)])
        await wait_until(self._accepts_connections, "mosquitto")
        return self

    async def _accepts_connections(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True
