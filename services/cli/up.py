"""`braid up`."""

from __future__ import annotations

import asyncio
import signal
import sys

from services.runtime.settings import ROOT, Settings, load


def up() -> None:
    """Start a local Kafka and Redis, the topics, aligner, fusion worker and live page; stay until Ctrl-C."""
    from services.cli import output
    from services.local.process import StartError

    try:
        asyncio.run(_stay())
    except StartError as error:
        output.fail(str(error))
    except KeyboardInterrupt:
        sys.exit(0)


def _bridges(settings: Settings) -> list[str]:
    """The bridges that the settings ask for."""
    wyoming = settings.wyoming.session or settings.wyoming.sessions
    return [*(["mqtt"] if settings.mqtt.host else []), *(["wyoming"] if wyoming else [])]


async def _stay() -> None:
    from services.kafka import clients, topic_admin
    from services.local.ports import free_ports
    from services.local.services import ServiceProcess
    from services.local.stack import LocalStack
    from services.runtime.net import access_token, page_url

    settings = load()
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with LocalStack(ROOT / ".braid", settings) as stack:
        async with clients.admin(stack.settings().kafka) as admin:
            await topic_admin.create_missing_topics(admin, settings)
        g, token = settings.gateway, access_token(settings.gateway)
        port = g.port or free_ports(1)[0]
        environment = stack.environment() | {"BRAID_GATEWAY__PORT": str(port), "BRAID_GATEWAY__TOKEN": token}
        names = ["aligner", "fusion", "gateway", *_bridges(settings)]
        services = [ServiceProcess(name, stack.folder, environment) for name in names]
        try:
            for service in services:
                service.start()
            await asyncio.gather(*(service.ready() for service in services))
            print("Braid is up. In another terminal:")
            for name, value in stack.environment().items():
                print(f"  export {name}={value}")
            for service in services:
                print(f"{service.name:8} http://127.0.0.1:{service.port}/metrics   log {service.child.log}")
            print(f"The live page: {page_url(g.host, port, token)}")
            print("Ctrl-C stops everything.", flush=True)
            while not ended.is_set():
                for service in services:
                    if not service.child.running:
                        print(
                            f"{service.name} ended with code {service.child.exit_code}; starting it again", flush=True
                        )
                        service.start()
                try:
                    await asyncio.wait_for(ended.wait(), 1.0)
                except TimeoutError:
                    continue
        finally:
            await asyncio.gather(*(service.child.stop() for service in services))
