"""A real MQTT broker, of the system's own: mosquitto on loopback, with what it needs and nothing kept."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

from services.local.ports import free_ports
from services.local.process import Child
from tests.waiting import wait_until


def system_binary(name: str, package: str) -> str:
    """A program that comes from the system's packages; it may lie where only root's PATH looks."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    assert found, f"{name} is not on the PATH: apt-get install {package} (the README names what tests need)"
    return found


class Mosquitto:
    """Starts on a free port; `start` again after `child.stop`, on the same."""

    def __init__(self, folder: Path) -> None:
        (self.port,) = free_ports(1)
        self._config = folder / "mosquitto.conf"
        self._config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence false\n")
        self.child = Child("mosquitto", folder)

    async def start(self) -> Mosquitto:
        self.child.start([system_binary("mosquitto", "mosquitto"), "-c", str(self._config)])
        await wait_until(self._answers, "mosquitto")
        return self

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        await writer.wait_closed()
        return True
