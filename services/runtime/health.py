"""Health of a service: /healthz, /readyz, /metrics and /version, served from a thread so that a blocked loop shows."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.exposition import choose_encoder

from services.runtime.broker_clock import BROKER_CLOCK
from services.runtime.monotonic_clock import monotonic_us
from services.runtime.process import release_library_pages
from services.runtime.server_watch import Dependency, DependencyWatch
from services.runtime.settings import Settings

_log = logging.getLogger(__name__)


PAUSED_US = 5_000_000


class Progress:
    """Liveness and readiness of a service.

    Attributes:
        not_ready: Reasons why the service is not ready, by name; it is ready if there are none.
        degraded: What the service works without, by name, although it is ready.
    """

    def __init__(self, stalled_s: int) -> None:
        self._stalled_us = stalled_s * 1_000_000
        self._beat_us = monotonic_us()
        self.not_ready: dict[str, str] = {"start": "the service has not started to read"}
        self.degraded: dict[str, str] = {}

    def beat(self) -> None:
        """Record that the main loop has completed a turn, with or without work."""
        self._beat_us = monotonic_us()

    @property
    def alive(self) -> bool:
        """False if the main loop has been stuck for too long."""
        return monotonic_us() - self._beat_us < self._stalled_us


class HealthServer:
    """The HTTP server for health and metrics of one service."""

    def __init__(self, host: str, port: int, service: str, progress: Progress, registry: CollectorRegistry) -> None:
        ready = Gauge("braid_ready", "1 while /readyz answers 200.", registry=registry)
        ready.set_function(lambda: float(not progress.not_ready))
        broker = Gauge("braid_broker_connected", "1 while the Kafka broker answers.", registry=registry)
        broker.set_function(lambda: float("broker" not in progress.not_ready))
        clock = Gauge(
            "braid_broker_clock_offset_seconds",
            "How far the broker's clock is ahead of the local one, by the newest acknowledgement.",
            registry=registry,
        )
        clock.set_function(lambda: BROKER_CLOCK.offset_us / 1e6)
        routes: Mapping[str, Callable[[str], tuple[int, str, bytes]]] = {
            "/healthz": lambda _: _json(200 if progress.alive else 503, {"alive": progress.alive}),
            "/readyz": lambda _: _readiness(progress),
            "/version": lambda _: _json(200, {"service": service, "version": version("braid")}),
            "/metrics": lambda accept: _metrics(registry, accept),
        }

        class Handler(BaseHTTPRequestHandler):
            # Each connection has a thread: one that sends nothing must not keep it.
            timeout = 10

            def do_GET(self) -> None:
                respond = routes.get(self.path)
                accept = self.headers.get("accept", "")
                status, kind, body = respond(accept) if respond else _json(404, {"known": sorted(routes)})
                # A probe that hangs up early is no error.
                with suppress(ConnectionError):
                    self.send_response(status)
                    self.send_header("content-type", kind)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Do not log requests: probes come every few seconds."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()


class Watchdog:
    """A thread that ends the process when its main loop is stuck, so that an orchestrator starts it again."""

    def __init__(self, progress: Progress, on_stall: Callable[[], None]) -> None:
        self._progress, self._on_stall = progress, on_stall
        self._stopped = threading.Event()
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    def stop(self) -> None:
        """Stop watching."""
        self._stopped.set()

    def _watch(self) -> None:
        looked_us = monotonic_us()
        while not self._stopped.wait(1.0):
            # The whole process was stopped or got no processor, this thread included: that is no hung main loop.
            if monotonic_us() - looked_us > PAUSED_US:
                self._progress.beat()
            looked_us = monotonic_us()
            if not self._progress.alive:
                self._on_stall()
                os._exit(70)


@contextmanager
def supervised(
    name: str, settings: Settings, registry: CollectorRegistry, dependencies: Sequence[Dependency]
) -> Iterator[Progress]:
    """Run health server, watchdog and checks around a service; yields the Progress that it must report to."""
    release_library_pages()
    progress = Progress(settings.watchdog.stalled_s)
    health = HealthServer(settings.http.host, settings.http.port, name, progress, registry)
    _log.info("started", extra={"service": name, "health_port": health.port})
    watchdog = Watchdog(progress, lambda: _log.critical("no progress: the watchdog ends the process"))
    watch = DependencyWatch([*dependencies, BROKER_CLOCK.dependency()], progress)
    try:
        yield progress
    finally:
        watch.stop()
        watchdog.stop()
        health.close()


def _metrics(registry: CollectorRegistry, accept: str) -> tuple[int, str, bytes]:
    """Encode metrics in the format that the client accepts; only OpenMetrics has exemplars."""
    encode: Callable[[CollectorRegistry], bytes]
    encode, kind = choose_encoder(accept)
    return 200, kind, encode(registry)


def _readiness(progress: Progress) -> tuple[int, str, bytes]:
    # Copies, because other threads change the originals.
    state = {"not_ready": dict(progress.not_ready), "degraded": dict(progress.degraded)}
    return _json(503 if state["not_ready"] else 200, state)


def _json(status: int, value: object) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(value).encode()
