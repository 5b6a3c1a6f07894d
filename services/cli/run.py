"""`braid run` runs one service; `braid up` runs a local stack with all of them."""

from __future__ import annotations

import asyncio
import signal
import sys
from importlib import import_module
from typing import Annotated

import typer

from services.cli import output
from services.runtime.settings import ROOT, Settings, load

SERVICES = {
    "aligner": "services.aligner",
    "fusion": "services.fusion",
    "gateway": "services.gateway",
    "mqtt": "services.integrations.mqtt",
    "wyoming": "services.integrations.wyoming",
}


def run(service: Annotated[str, typer.Argument(help=", ".join(SERVICES))]) -> None:
    """Run one service in the foreground until Ctrl-C or SIGTERM. Exit code 0 after a clean stop."""
    settings = load()
    if service not in SERVICES:
        raise output.UsageError(f"There is no service {service}.", f"There are {', '.join(SERVICES)}.")
    sys.exit(import_module(f"{SERVICES[service]}.__main__").main(settings))


def up() -> None:
    """Start a local Kafka and Redis, the topics, the aligner, the fusion worker and the live page, until Ctrl-C."""
    try:
        asyncio.run(_run_stack())
    except KeyboardInterrupt:
        sys.exit(0)


def _bridges(settings: Settings) -> list[str]:
    wyoming = settings.wyoming.session or settings.wyoming.sessions
    return [*(["mqtt"] if settings.mqtt.host else []), *(["wyoming"] if wyoming else [])]


async def _run_stack() -> None:
    from services.kafka import clients, topic_admin
    from services.local.ports import free_ports
    from services.local.services import ServiceProcess
    from services.local.stack import LocalStack
    from services.runtime.net import access_token, page_url

    settings = load()
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with LocalStack(ROOT / ".braid", settings) as stack:
        async with clients.admin(stack.settings().kafka) as admin:
            await topic_admin.create_missing_topics(admin, settings)
        gateway, token = settings.gateway, access_token(settings.gateway)
        port = gateway.port or free_ports(1)[0]
        environment = stack.environment() | {"BRAID_GATEWAY__PORT": str(port), "BRAID_GATEWAY__TOKEN": token}
        names = ["aligner", "fusion", "gateway", *_bridges(settings)]
        services = [ServiceProcess(name, stack.folder, environment) for name in names]
        try:
            for service in services:
                service.start()
            await asyncio.gather(*(service.wait_until_ready() for service in services))
            print("Braid is up. In another terminal:")
            for name, value in stack.environment().items():
                print(f"  export {name}={value}")
            for service in services:
                print(f"{service.name:8} http://127.0.0.1:{service.port}/metrics   log {service.child.log}")
            print(f"The live page: {page_url(gateway.host, port, token)}")
            print("Ctrl-C stops everything.", flush=True)
            while not stopping.is_set():
                for service in services:
                    if not service.child.running:
                        print(f"{service.name} ended with code {service.child.exit_code}; it is restarted", flush=True)
                        service.start()
                try:
                    await asyncio.wait_for(stopping.wait(), 1.0)
                except TimeoutError:
                    continue
        finally:
            await asyncio.gather(*(service.child.stop() for service in services))
