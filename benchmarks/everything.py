"""The whole system on this machine, for what is measured from outside: the local stack and every service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from services.local.ports import free_ports
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime import kafka, topic_admin
from services.runtime.settings import Settings, load

SERVICES = ("aligner", "fusion", "gateway")


@asynccontextmanager
async def everything(folder: Path) -> AsyncIterator[tuple[Settings, str]]:
    """Everything up: its settings, and the address of its page. Raises CannotStart."""
    own = load(kafka={"bootstrap_servers": ""}, redis={"url": ""})
    async with LocalStack(folder, own) as stack:
        async with kafka.admin(stack.bootstrap_servers) as admin:
            await topic_admin.apply(admin, stack.settings())
        (port,) = free_ports(1)
        environment = {**stack.environment(), "BRAID_GATEWAY__PORT": str(port)}
        services = [ServiceProcess(name, folder, environment) for name in SERVICES]
        try:
            for service in services:
                service.start()
            await asyncio.gather(*(service.ready() for service in services))
            yield stack.settings(), f"http://127.0.0.1:{port}/"
        finally:
            await asyncio.gather(*(service.child.stop() for service in services))
