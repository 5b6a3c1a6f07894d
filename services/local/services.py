"""The services as child processes: started with the stack's addresses, ready when they say so."""

from __future__ import annotations

import asyncio
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from services.local.ports import free_ports
from services.local.process import ChildProcess, StartError

READY_S = 120
MODULES = {
    "aligner": "services.aligner",
    "fusion": "services.fusion",
    "gateway": "services.gateway",
    "mqtt": "services.integrations.mqtt",
    "wyoming": "services.integrations.wyoming",
}


class ServiceProcess:
    """One service of ours with its health port; it can be killed and started again under the same name.

    A guest has no stable name in its group: its partitions are given away at once when it leaves.
    module: what to run in its place, which must answer like it.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        environment: Mapping[str, str],
        number: int = 1,
        guest: bool = False,
        module: str | None = None,
    ) -> None:
        self.name = name
        self.child = ChildProcess(f"{name}-{number}", folder)
        (self.port,) = free_ports(1)
        self._module = module or MODULES[name]
        self._environment = {
            **environment,
            "BRAID_HTTP__PORT": str(self.port),
            "BRAID_KAFKA__INSTANCE": "" if guest else f"{name}-{number}",
            "PYTHONUNBUFFERED": "1",
        }

    def start(self) -> None:
        """Start it (again)."""
        self.child.start([sys.executable, "-m", self._module], self._environment)

    async def wait_until_ready(self) -> None:
        """Wait until it has its partitions. Raises StartError with its last words."""
        deadline = asyncio.get_running_loop().time() + READY_S
        while asyncio.get_running_loop().time() < deadline:
            if not self.child.running:
                raise StartError(
                    f"{self.name} ended with code {self.child.exit_code}; its log is {self.child.log}:\n"
                    f"{self.child.log_tail()}"
                )
            if await asyncio.to_thread(self.get, "/readyz") is not None:
                return
            await asyncio.sleep(0.1)
        raise StartError(f"{self.name} is not ready after {READY_S} s; its log is {self.child.log}")

    def get(self, path: str, accept: str = "*/*") -> str | None:
        """What its HTTP side answers, None for anything but 200."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=2) as answer:
                found: str = answer.read().decode()
                return found
        except (OSError, urllib.error.URLError):
            return None

    def read_metric(self, name: str) -> float:
        """The sum of all series of a metric, 0 where it is not there."""
        lines = (self.get("/metrics") or "").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)
