"""Services as child processes of the local stack."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from services.local.ports import free_ports
from services.local.process import ChildProcess, StartError
from services.runtime.process import SERVICE_MODULES

READY_S = 120


class ServiceProcess:
    """A service with its HTTP port; it can be killed and started again under the same name.

    Args:
        name: The service, a key of SERVICE_MODULES.
        folder: Where its log goes.
        environment: Settings for the service, as environment variables.
        number: Tells several instances of one service apart.
        guest: Join the consumer group without a stable name, so that the partitions are reassigned as soon as it stops.
        module: The module to run instead of the service's own; it must have the same HTTP endpoints.
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
        self._module = module or SERVICE_MODULES[name]
        self._environment = {
            **environment,
            "BRAID_HTTP__PORT": str(self.port),
            "BRAID_KAFKA__INSTANCE": "" if guest else f"{name}-{number}",
            "PYTHONUNBUFFERED": "1",
        }

    @property
    def label(self) -> str:
        """The name in messages: that of the service, with its number from the second process on."""
        return self.name if self.child.name == f"{self.name}-1" else self.child.name

    def start(self) -> None:
        """Start the service, also again."""
        self.child.start([sys.executable, "-m", self._module], self._environment)

    async def restart(self) -> None:
        """Start the service again and wait until it is ready. Raises StartError."""
        self.start()
        await self.wait_until_ready()

    async def check(self) -> None:
        """Raise TimeoutError if nothing answers at the service's HTTP port."""
        if await asyncio.to_thread(self.get, "/healthz") is None:
            raise TimeoutError

    def not_ready(self) -> dict[str, str]:
        """Return the reasons of /readyz why the service is not ready, by name; none if it is or does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2):
                return {}
        except urllib.error.HTTPError as error:
            reasons: dict[str, str] = json.loads(error.read())["not_ready"]
            return reasons
        except OSError:
            return {}

    async def wait_until_ready(self) -> None:
        """Wait until the service is ready (/readyz). Raises StartError."""
        deadline = asyncio.get_running_loop().time() + READY_S
        while asyncio.get_running_loop().time() < deadline:
            if not self.child.running:
                raise self.child.ended_error()
            if await asyncio.to_thread(self.get, "/readyz") is not None:
                return
            await asyncio.sleep(0.1)
        raise StartError(f"{self.name} is not ready after {READY_S} s.", do=f"Its log is {self.child.log}.")

    def get(self, path: str, accept: str = "*/*") -> str | None:
        """Return the body of an HTTP response of the service, None for any status but 200."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers={"accept": accept})
        try:
            with urllib.request.urlopen(request, timeout=2) as response:
                body: str = response.read().decode()
                return body
        except (OSError, urllib.error.URLError):
            return None

    def read_metric(self, name: str) -> float:
        """Return the sum of all series of a metric, 0 if there is none."""
        lines = (self.get("/metrics") or "").splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.split("{")[0].split(" ")[0] == name)
