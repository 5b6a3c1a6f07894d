"""`braid run` runs one service; `braid up` runs a local stack with all of them."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from services.cli import output
from services.contract.user_errors import EXIT_USAGE
from services.runtime.process import SERVICE_MODULES, release_library_pages
from services.runtime.settings import Settings, load


def run(service: Annotated[str, typer.Argument(help=", ".join(SERVICE_MODULES))]) -> None:
    """Run one service in the foreground until Ctrl-C or SIGTERM. Exit code 0 after a clean stop."""
    settings = load()
    if service not in SERVICE_MODULES:
        raise output.UsageError(f"There is no service {service}.", f"There are {', '.join(SERVICE_MODULES)}.")
    sys.exit(import_module(f"{SERVICE_MODULES[service]}.__main__").main(settings))


def up(
    folder: Annotated[
        Path, typer.Option(help="The state folder: data of Kafka, logs, evidence, labels. One `braid up` at a time.")
    ] = Path(".braid"),
) -> None:
    """Start a local Kafka and Redis, the topics, the aligner, the fusion worker and the live page, until Ctrl-C.

    Whatever of it ends by itself or hangs is started again.
    """
    try:
        asyncio.run(_run_stack(folder))
    except KeyboardInterrupt:
        sys.exit(0)


def _bridges(settings: Settings) -> list[str]:
    wyoming = settings.wyoming.session or settings.wyoming.sessions
    return [*(["mqtt"] if settings.mqtt.host else []), *(["wyoming"] if wyoming else [])]


def _fusion_processes(settings: Settings) -> int:
    """Return how many fusion workers to start; one without a partition would only take memory."""
    processes, partitions = settings.fusion.processes, settings.topics.partitions
    if processes > partitions:
        _report(
            f"fusion.processes is {processes}, but there are {partitions} partitions (topics.partitions), and a worker "
            f"without one has nothing to do: {partitions} are started"
        )
    return min(processes, partitions)


def _report(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


async def _run_stack(folder: Path) -> None:
    from services.kafka import clients, topic_admin
    from services.kafka.control_topic import renew_signatures
    from services.local.ports import free_ports
    from services.local.services import ServiceProcess
    from services.local.stack import LocalStack
    from services.local.supervision import keep_running
    from services.runtime.net import access_token, page_url

    settings = load()
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with LocalStack(folder, settings) as stack:
        async with clients.admin(stack.settings().kafka) as admin:
            await topic_admin.create_missing_topics(admin, stack.settings())
            if stack.broker is not None:
                await topic_admin.apply_changes(admin, await topic_admin.config_changes(admin, settings))
        await renew_signatures(stack.settings())
        gateway, token = settings.gateway, access_token(settings.gateway)
        port = gateway.port or free_ports(1)[0]
        stack.lock.describe(f"the live page is {page_url(gateway.host, port, '')}")
        environment = stack.environment() | {"BRAID_GATEWAY__PORT": str(port), "BRAID_GATEWAY__TOKEN": token}
        numbers = {"fusion": _fusion_processes(settings)}
        core = [
            ServiceProcess(name, stack.folder, environment, number)
            for name in ("aligner", "fusion", "gateway")
            for number in range(1, numbers.get(name, 1) + 1)
        ]
        # A bridge may wait for a broker of its own: the rest does not wait for it.
        bridges = [ServiceProcess(name, stack.folder, environment) for name in _bridges(settings)]
        services = [*core, *bridges]
        watching: list[asyncio.Task[None]] = []
        try:
            for service in services:
                service.start()
            await asyncio.gather(*(service.wait_until_ready() for service in core))
            for bridge in bridges:
                if bridge.child.exit_code == EXIT_USAGE:
                    raise bridge.child.ended_error()
            servers = [server for server in (stack.broker, stack.redis) if server is not None]
            watching += [
                asyncio.create_task(keep_running(server.child.name, server.child, server.start, server.check, _report))
                for server in servers
            ]
            watching += [
                asyncio.create_task(keep_running(service.label, service.child, service.restart, service.check, _report))
                for service in services
            ]
            print("Braid is up. In another terminal:")
            for name, value in stack.environment().items():
                print(f"  export {name}={value}")
            for service in services:
                print(f"{service.label:8} http://127.0.0.1:{service.port}/metrics   log {service.child.log}")
            for bridge in bridges:
                for reason in (await asyncio.to_thread(bridge.not_ready)).values():
                    print(f"{bridge.label:8} is not ready yet: {reason}")
            print(f"The live page: {page_url(gateway.host, port, token)}")
            print("Ctrl-C stops everything.", flush=True)
            release_library_pages()
            stopped = asyncio.create_task(stopping.wait())
            # A watcher ends only by a defect of its own, which must not pass unseen.
            done, _ = await asyncio.wait([stopped, *watching], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
            await asyncio.gather(*(service.child.stop() for service in services))
