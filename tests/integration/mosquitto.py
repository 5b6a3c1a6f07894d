"""A mosquitto process on loopback without persistence, and a client that hears every message of it."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt

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


class MqttListener:
    """Every message of an MQTT broker, in order."""

    def __init__(self) -> None:
        self.messages: list[aiomqtt.Message] = []

    def payloads_of(self, topic: str) -> list[bytes]:
        return [bytes(m.payload) for m in self.messages if m.topic.value == topic]

    async def wait(self, topic: str, count: int = 1) -> list[bytes]:
        async def enough() -> list[bytes] | None:
            return self.payloads_of(topic) if len(self.payloads_of(topic)) >= count else None

        return await wait_until(
            enough, f"{count} on {topic}; received {sorted({m.topic.value for m in self.messages})}"
        )


@asynccontextmanager
async def subscribe(port: int) -> AsyncIterator[tuple[MqttListener, aiomqtt.Client]]:
    listener = MqttListener()
    async with aiomqtt.Client("127.0.0.1", port) as client:
        await client.subscribe("#", qos=1)

        async def hear() -> None:
            async for message in client.messages:
                listener.messages.append(message)

        task = asyncio.create_task(hear())
        try:
            yield listener, client
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
