"""`braid run`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from services.cli import output
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
        from services.integrations.mqtt.__main__ import main
    elif service == "wyoming":
        from services.integrations.wyoming.__main__ import main
    else:
        output.fail(f"no service {service}: aligner, fusion, gateway, mqtt or wyoming", 2)
    sys.exit(main(settings))
