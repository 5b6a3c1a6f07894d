"""The bridge from Wyoming as a process: `braid run wyoming`."""

from __future__ import annotations

import asyncio
import signal
import socket

from services.integrations.wyoming.server import WyomingServer
from services.kafka import wait_for_broker
from services.kafka.broker_liveness import broker_dependency
from services.runtime import logs
from services.runtime.device_directory import DeviceDirectory
from services.runtime.health import Progress, supervised
from services.runtime.metric_definitions import WyomingMetrics, make_registry
from services.runtime.net import bind_listener, is_loopback
from services.runtime.process import run_main
from services.runtime.settings import Settings, SettingsError, WyomingSettings, load

BEAT_S = 1.0


def check_settings(settings: WyomingSettings) -> None:
    """Raise SettingsError if the bridge must not start with these settings."""
    if not settings.session and not settings.sessions:
        raise SettingsError(
            "The Wyoming bridge cannot start.",
            "No setting says which session satellites belong to.",
            "Set BRAID_WYOMING__SESSION to a session, or BRAID_WYOMING__SESSIONS to one for each address, as "
            '{"192.168.1.20": "kitchen"}.',
        )
    if not is_loopback(settings.host) and not settings.allow_unencrypted:
        raise SettingsError(
            "The Wyoming bridge cannot start.",
            f"Wyoming has neither encryption nor passwords: on {settings.host} other machines could listen and send.",
            "In a network of your own set BRAID_WYOMING__ALLOW_UNENCRYPTED=true, and name the satellites' addresses in "
            "BRAID_WYOMING__SESSIONS.",
        )


async def serve(settings: Settings, listener: socket.socket, metrics: WyomingMetrics, progress: Progress) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with wait_for_broker.producer(settings.kafka, settings.topics.partitions, progress) as kafka_producer:
        server = WyomingServer(
            settings.wyoming,
            settings.topic_names(),
            settings.alignment_config().admission,
            kafka_producer,
            DeviceDirectory(settings.devices),
            metrics,
        )
        serving = asyncio.create_task(server.run(listener))
        serving.add_done_callback(lambda _: ended.set())
        progress.not_ready.pop("start", None)
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
    """Run until SIGTERM and return the exit code."""
    settings = settings or load()
    logs.setup()
    w = settings.wyoming
    settings.require_broker()
    check_settings(w)
    try:
        listener = bind_listener(w.host, w.port)
    except OSError as error:
        raise SettingsError(
            "The Wyoming bridge cannot listen.",
            f"wyoming.host {w.host}, wyoming.port {w.port}: {error.strerror}.",
            "Set BRAID_WYOMING__PORT to a free port.",
        ) from None
    registry = make_registry("wyoming")
    with listener, supervised("braid-wyoming", settings, registry, (broker_dependency(settings.kafka),)) as progress:
        asyncio.run(serve(settings, listener, WyomingMetrics(registry), progress))
    return 0


if __name__ == "__main__":
    run_main(main)
