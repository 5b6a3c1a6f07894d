"""`braid run`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from services.cli import say
from services.runtime.settings import load


def run(service: Annotated[str, typer.Argument(help="aligner, fusion, gateway, mqtt or wyoming")]) -> None:
    """Run one service in the foreground until Ctrl-C or SIGTERM (0 after a clean stop)."""
    settings = load()
    if service == "aligner":
        from services.aligner.__main__ import main
    elif service == "fusion":
        from services.fusion.__main__ import main
    elif service == "gateway":
        from services.gateway.__main__ import main
    elif service == "mqtt":
        from services.bridges.mqtt.__main__ import main
    elif service == "wyoming":
        from services.bridges.wyoming.__main__ import main
    else:
        say.fail(f"no service {service}: aligner, fusion, gateway, mqtt or wyoming", 2)
    sys.exit(main(settings))
