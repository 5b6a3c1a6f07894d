"""The bridge from Wyoming as a process: `braid run wyoming`."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys

from services.integrations.devices import Devices
from services.integrations.wyoming.server import Server
from services.kafka.retry import producer
from services.runtime import logs
from services.runtime.exits import EXIT_SETTINGS, NO_BROKER
from services.runtime.health import Progress, watched
from services.runtime.metrics import WyomingMetrics, make_registry
from services.runtime.net import bind, is_loopback
from services.runtime.settings import Settings, WyomingSettings, load

BEAT_S = 1.0


def refusal(settings: WyomingSettings) -> str | None:
    """Why the bridge does not start with these settings, None where it does."""
    if not settings.session and not settings.sessions:
        return (
            "nothing says which session satellites belong to: set BRAID_WYOMING__SESSION to a room, or "
            'BRAID_WYOMING__SESSIONS to one for each address, as {"192.168.1.20": "kitchen"}'
        )
    if not is_loopback(settings.host) and not settings.allow_unencrypted:
        return (
            f"Wyoming knows neither encryption nor passwords: on {settings.host} others could listen and send. Set "
            "BRAID_WYOMING__ALLOW_UNENCRYPTED=true where the network is your own, and name the satellites' addresses in "
            "BRAID_WYOMING__SESSIONS"
        )
    return None


async def serve(settings: Settings, listener: socket.socket, metrics: WyomingMetrics, progress: Progress) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with producer(settings.kafka, progress) as made:
        server = Server(
            settings.wyoming,
            settings.topic_names(),
            settings.semantics().admission,
            made,
            Devices(settings.devices),
            metrics,
        )
        serving = asyncio.create_task(server.run(listener))
        serving.add_done_callback(lambda _: ended.set())
        progress.not_ready.clear()
        try:
            while not ended.is_set():
                progress.beat()
                try:
                    await asyncio.wait_for(ended.wait(), BEAT_S)
                except TimeoutError:
                    continue
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)


def main(settings: Settings | None = None) -> int:
    """Run until SIGTERM; the exit code (0 after a clean stop)."""
    settings = settings or load()
    logs.setup()
    w = settings.wyoming
    refused = refusal(w) if settings.kafka.bootstrap_servers else NO_BROKER
    if refused is not None:
        print(refused, file=sys.stderr)
        return EXIT_SETTINGS
    try:
        listener = bind(w.host, w.port)
    except OSError as error:
        print(
            f"wyoming.host {w.host}, wyoming.port {w.port}: {error.strerror}. Set BRAID_WYOMING__PORT to a free one",
            file=sys.stderr,
        )
        return EXIT_SETTINGS
    registry = make_registry("wyoming")
    with listener, watched("braid-wyoming", settings, registry) as progress:
        asyncio.run(serve(settings, listener, WyomingMetrics(registry), progress))
    return 0


if __name__ == "__main__":
    sys.exit(main())
