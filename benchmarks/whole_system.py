"""Braid's processes on this machine, for benchmarks that measure them from outside."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from services.contract.user_errors import BraidError
from services.kafka import clients, topic_admin
from services.local.ports import free_ports
from services.local.process import ChildProcess, StartError
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings, load

SERVICES = ("aligner", "fusion", "gateway")
T = TypeVar("T")


class RunFailed(BraidError):
    """A run without a result."""


@dataclass(frozen=True, slots=True)
class RunningSystem:
    """The local stack, the services by name, the settings they use, and the address of the live page."""

    stack: LocalStack
    services: Mapping[str, ServiceProcess]
    settings: Settings
    page: str


@asynccontextmanager
async def run_system(folder: Path, more: Mapping[str, str] | None = None) -> AsyncIterator[RunningSystem]:
    """Run the stack and all services.

    Args:
        folder: Where the processes write.
        more: Further environment variables of the services.

    Raises:
        StartError: A process does not start.
    """
    own_stack = load(kafka={"bootstrap_servers": ""}, redis={"url": ""})
    async with LocalStack(folder, own_stack) as stack:
        async with clients.admin(stack.bootstrap_servers) as admin:
            await topic_admin.create_missing_topics(admin, stack.settings())
        (port,) = free_ports(1)
        environment = {**stack.environment(), "BRAID_GATEWAY__PORT": str(port), **(more or {})}
        services = {name: ServiceProcess(name, folder, environment) for name in SERVICES}
        try:
            for service in services.values():
                service.start()
            await asyncio.gather(*(service.wait_until_ready() for service in services.values()))
            yield RunningSystem(stack, services, stack.settings(), f"http://127.0.0.1:{port}/")
        finally:
            await asyncio.gather(*(service.child.stop() for service in services.values()))


def run_in_temporary_folder(benchmark: Callable[[Path], Awaitable[T]]) -> T:
    """Run a benchmark in a folder that is deleted afterwards; exit with the reason if it cannot run."""

    async def run(folder: str) -> T:
        return await benchmark(Path(folder))

    try:
        with tempfile.TemporaryDirectory(prefix="braid-bench-") as folder:
            return asyncio.run(run(folder))
    except (RunFailed, StartError) as error:
        raise SystemExit(str(error)) from None


async def run_for_report(child: ChildProcess, module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """Run a module that writes a JSON report to the path in its last argument, and return the report.

    Raises:
        RunFailed: The process ends with an error.
    """
    report = child.log.with_suffix(".json")
    child.start([sys.executable, "-m", module, *arguments, str(report)])
    try:
        code = await child.wait()
    finally:
        child.kill()
    if code != 0:
        raise RunFailed(f"{child.name} ended with code {code}:\n{child.log_tail()}")
    fields: dict[str, Any] = json.loads(report.read_text())
    return fields
