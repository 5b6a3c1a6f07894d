"""`braid up` with two fusion workers through faults: a second one, Kafka, Redis and services killed, and MQTT away."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from services.contract.partitioner import partition_of
from services.local.ports import free_ports
from tests.waiting import wait_until

BRAID = str(Path(sys.executable).parent / "braid")


class Up:
    """A `braid up` of two partitions in a folder; what it prints, and its services by HTTP."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.page_port, mqtt_port = free_ports(2)
        clean = {name: value for name, value in os.environ.items() if not name.startswith("BRAID_")}
        self.environment = clean | {
            "BRAID_GATEWAY__PORT": str(self.page_port),
            "BRAID_TOPICS__PARTITIONS": "2",
            "BRAID_FUSION__PROCESSES": "3",
            "BRAID_MQTT__HOST": "127.0.0.1",
            "BRAID_MQTT__PORT": str(mqtt_port),
        }
        self.printed = ""

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            BRAID, "up", "--folder", str(self.folder), env=self.environment, stdout=asyncio.subprocess.PIPE
        )
        self._reading = asyncio.create_task(self._read())
        await self.wait_for_line("Ctrl-C stops")

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.printed += line.decode()

    async def wait_for_line(self, text: str, after: int = 0) -> None:
        async def has_line() -> bool | None:
            assert self.process.returncode is None, self.printed
            return text in self.printed[after:] or None

        await wait_until(has_line, f"{text!r} in what `braid up` prints")

    def port(self, service: str) -> int:
        found = re.search(rf"^{service} +http://127.0.0.1:(\d+)/", self.printed, re.MULTILINE)
        assert found, self.printed
        return int(found[1])

    def pid(self, name: str) -> int:
        return int((self.folder / f"{name}.pid").read_text().split()[0])

    async def get(self, port: int, path: str, body: bytes | None = None) -> tuple[int, Any]:
        """Return status and JSON of a response; status 0 if there is none."""

        def request() -> tuple[int, Any]:
            asked = urllib.request.Request(
                f"http://127.0.0.1:{port}{path}", body, {"content-type": "text/plain"} if body else {}
            )
            try:
                with urllib.request.urlopen(asked, timeout=5) as response:
                    return response.status, json.loads(response.read())
            except urllib.error.HTTPError as error:
                return error.code, json.loads(error.read())
            except OSError:
                return 0, {}

        return await asyncio.to_thread(request)

    async def wait_for_readiness(self, service: str, name: str, status: int, where: str, is_there: bool) -> None:
        """Wait until /readyz of a service has this status, and a reason of this name there or not."""

        async def matches() -> bool | None:
            got, state = await self.get(self.port(service), "/readyz")
            return (got == status and (name in state[where]) == is_there) or None

        await wait_until(matches, f"{service} to be {status} {'with' if is_there else 'without'} {name}")

    async def wait_for_prediction(self, session: str) -> None:
        """Send a text to a session until it is accepted, and wait for a final prediction of it."""

        async def accepted() -> bool | None:
            path = f"/api/v1/sessions/{session}/text"
            return (await self.get(self.page_port, path, b"seven stars"))[0] == 202 or None

        async def predicted() -> bool | None:
            status, body = await self.get(self.page_port, f"/api/v1/sessions/{session}?seconds=60")
            return (status == 200 and any(p["final"] for p in body["prediction"])) or None

        await wait_until(accepted, f"a text of {session} to be accepted")
        await wait_until(predicted, f"a final prediction of {session}")

    async def predictions(self, service: str) -> float:
        """Return how many predictions a fusion worker has made."""
        url = f"http://127.0.0.1:{self.port(service)}/metrics"
        text = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read().decode())
        return sum(float(v) for v in re.findall(r"^braid_predictions_total{.*} (\S+)$", text, re.MULTILINE))

    async def stop(self) -> int:
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGINT)
        code = await self.process.wait()
        await self._reading
        return code


async def test_braid_up_survives_a_second_one_and_the_end_of_each_of_its_processes(tmp_path: Path) -> None:
    up = Up(tmp_path / "state")
    try:
        # The MQTT broker is away: everything else comes up, and the bridge says what it waits for.
        await up.start()
        await up.wait_for_readiness("mqtt", "mqtt", 503, "not_ready", is_there=True)
        assert "fusion.processes is 3, but there are 2 partitions" in up.printed
        await up.wait_for_prediction("before")

        kafka, redis = up.pid("kafka"), up.pid("redis")
        second = await asyncio.create_subprocess_exec(
            BRAID, "up", "--folder", str(up.folder), env=up.environment, stderr=asyncio.subprocess.PIPE
        )
        _, said = await second.communicate()
        assert second.returncode == 1
        assert f"Process {up.process.pid}" in said.decode()
        assert f"http://127.0.0.1:{up.page_port}/" in said.decode()
        assert len(said.splitlines()) == 3
        assert psutil.pid_exists(kafka)
        assert psutil.pid_exists(redis)
        assert (up.pid("kafka"), up.pid("redis")) == (kafka, redis)

        # A broker that hangs is as away as one that is killed, and stays away long enough to be seen.
        os.kill(kafka, signal.SIGSTOP)
        for service in ("aligner", "fusion", "gateway", "mqtt"):
            await up.wait_for_readiness(service, "broker", 503, "not_ready", is_there=True)
        assert any("Kafka" in text for text in (await up.get(up.page_port, "/api/v1/sessions"))[1]["problems"])
        os.kill(kafka, signal.SIGKILL)
        await up.wait_for_line("kafka was killed")
        await up.wait_for_line("kafka runs again")
        for service in ("aligner", "fusion", "gateway"):
            await up.wait_for_readiness(service, "broker", 200, "not_ready", is_there=False)
        await up.wait_for_prediction("after-kafka")

        os.kill(redis, signal.SIGSTOP)
        for service in ("aligner", "fusion", "gateway"):
            await up.wait_for_readiness(service, "redis", 200, "degraded", is_there=True)
        os.kill(redis, signal.SIGKILL)
        await up.wait_for_line("redis runs again")
        await up.wait_for_readiness("fusion", "redis", 200, "degraded", is_there=False)

        os.kill(up.pid("fusion-1"), signal.SIGKILL)
        await up.wait_for_line("fusion was killed")
        await up.wait_for_line("fusion runs again")
        os.kill(up.pid("fusion-2"), signal.SIGKILL)
        await up.wait_for_line("fusion-2 was killed")
        await up.wait_for_line("fusion-2 runs again")
        # A session of each partition, and so of each worker.
        sessions = {partition_of(name.encode(), 2): name for name in map("room-{}".format, range(16))}
        assert len(sessions) == 2
        for name in sessions.values():
            await up.wait_for_prediction(name)
        assert await up.predictions("fusion") > 0
        assert await up.predictions("fusion-2") > 0
        assert "aligner was" not in up.printed
        assert "aligner ended" not in up.printed
        assert "gateway ended" not in up.printed
    finally:
        code = await up.stop()
    assert code == 0
    assert not any(
        psutil.pid_exists(up.pid(name)) for name in ("kafka", "redis") if (up.folder / f"{name}.pid").exists()
    )
