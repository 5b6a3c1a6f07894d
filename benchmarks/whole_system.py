"""The whole system on this machine, for what is measured from outside: the local stack and every service."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from services.kafka import clients, topic_admin
from services.local.ports import free_ports
from services.local.process import StartError
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings, load

SERVICES = ("aligner", "fusion", "gateway")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RunningSystem:
    """What runs: the stack, the services by name, the settings that lead there, and the address of the page."""

    stack: LocalStack
    services: Mapping[str, ServiceProcess]
    settings: Settings
    page: str


@asynccontextmanager
async def run_system(folder: Path, more: Mapping[str, str] | None = None) -> AsyncIterator[RunningSystem]:
    """Everything up; more: of the services' environment. Raises StartError."""
    own = load(kafka={"bootstrap_servers": ""}, redis={"url": ""})
    async with LocalStack(folder, own) as stack:
        async with clients.admin(stack.bootstrap_servers) as admin:
            await topic_admin.apply(admin, stack.settings())
        (port,) = free_ports(1)
        environment = {**stack.environment(), "BRAID_GATEWAY__PORT": str(port), **(more or {})}
        services = {name: ServiceProcess(name, folder, environment) for name in SERVICES}
        try:
            for service in services.values():
                service.start()
            await asyncio.gather(*(service.ready() for service in services.values()))
            yield RunningSystem(stack, services, stack.settings(), f"http://127.0.0.1:{port}/")
        finally:
            await asyncio.gather(*(service.child.stop() for service in services.values()))


def run_in_temporary_folder(bench: Callable[[Path], Awaitable[T]]) -> T:
    """What a benchmark finds in a folder that goes with it; ends the process (1) with the reason where it cannot start."""

    async def found(folder: str) -> T:
        return await bench(Path(folder))

    try:
        with tempfile.TemporaryDirectory(prefix="braid-bench-") as folder:
            return asyncio.run(found(folder))
    except StartError as why:
        raise SystemExit(str(why)) from None
