"""The gateway as a process: `braid run gateway`."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from services.gateway.app import serve
from services.runtime import logs
from services.runtime.exits import EXIT_SETTINGS, NO_BROKER
from services.runtime.gc_tuning import leave_loaded
from services.runtime.health import watched
from services.runtime.metrics import GatewayMetrics, make_registry
from services.runtime.net import address, bind, token_of
from services.runtime.settings import Settings, load


def main(settings: Settings | None = None) -> int:
    """Run until SIGTERM; the exit code (0 after a clean stop)."""
    settings = settings or load()
    logs.setup()
    if not settings.kafka.bootstrap_servers:
        print(NO_BROKER, file=sys.stderr)
        return EXIT_SETTINGS
    try:
        listener = bind(settings.gateway.host, settings.gateway.port)
    except OSError as error:
        told = f"gateway.host {settings.gateway.host}, gateway.port {settings.gateway.port}: {error.strerror}"
        print(f"{told}. Set BRAID_GATEWAY__PORT to a free one (0 takes any)", file=sys.stderr)
        return EXIT_SETTINGS
    token, registry = token_of(settings.gateway), make_registry("gateway")
    with listener, watched("braid-gateway", settings, registry) as progress:
        host, port = listener.getsockname()[:2]
        # A token of our own making is told here and nowhere else: whoever may read our output may look.
        told = "" if settings.gateway.token.get_secret_value() else token
        print(f"the live page is at {address(host, port, told)}", file=sys.stderr, flush=True)
        leave_loaded()
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(settings, listener, token, GatewayMetrics(registry), progress))
    return 0


if __name__ == "__main__":
    sys.exit(main())
