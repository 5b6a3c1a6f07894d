"""The gateway as a process: `braid run gateway`."""

from __future__ import annotations

import asyncio
import contextlib
import sys

from services.gateway.app import serve
from services.kafka.broker_liveness import broker_dependency
from services.runtime import logs
from services.runtime.health import supervised
from services.runtime.metric_definitions import GatewayMetrics, make_registry
from services.runtime.net import access_token, bind_listener, page_url
from services.runtime.process import freeze_loaded_objects, run_main
from services.runtime.settings import Settings, SettingsError, load
from services.storage.payload_cache import redis_dependency


def main(settings: Settings | None = None) -> int:
    """Run until SIGTERM and return the exit code."""
    settings = settings or load()
    logs.setup()
    settings.require_broker()
    try:
        listener = bind_listener(settings.gateway.host, settings.gateway.port)
    except OSError as error:
        raise SettingsError(
            "The gateway cannot listen.",
            f"gateway.host {settings.gateway.host}, gateway.port {settings.gateway.port}: {error.strerror}.",
            "Set BRAID_GATEWAY__PORT to a free port (0: any).",
        ) from None
    token, registry = access_token(settings.gateway), make_registry("gateway")
    dependencies = (broker_dependency(settings.kafka), redis_dependency(settings.redis))
    with listener, supervised("braid-gateway", settings, registry, dependencies) as progress:
        host, port = listener.getsockname()[:2]
        # A generated token is printed here and nowhere else: who can read this output may open the page.
        printed_token = "" if settings.gateway.token.get_secret_value() else token
        print(f"the live page is at {page_url(host, port, printed_token)}", file=sys.stderr, flush=True)
        freeze_loaded_objects()
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(settings, listener, token, GatewayMetrics(registry), progress))
    return 0


if __name__ == "__main__":
    run_main(main)
