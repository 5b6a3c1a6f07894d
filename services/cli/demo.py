"""`braid demo`."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from services.cli import output
from services.contract.user_errors import BraidError
from services.runtime.settings import ROOT, load

STREAMS = tuple(f"S{n:02d}" for n in range(1, 9))


def demo(
    from_s: Annotated[
        float, typer.Option("--from", envvar="BRAID_DEMO_FROM", help="The first stream second.", min=0, max=119)
    ] = 30,
    seconds: Annotated[
        float, typer.Option(envvar="BRAID_DEMO_SECONDS", help="The number of stream seconds.", min=4, max=120)
    ] = 40,
    speed: Annotated[
        float,
        typer.Option(
            envvar="BRAID_DEMO_SPEED",
            help="Stream seconds per second; idle timeouts are divided by it. For tests.",
            min=0.1,
            max=20,
        ),
    ] = 1,
    stream: Annotated[
        list[str] | None, typer.Option(envvar="BRAID_DEMO_STREAM", help="Only these streams (S01 to S08).")
    ] = None,
    kill: Annotated[
        Literal["aligner", "fusion"] | None, typer.Option(help="Kill this service (kill -9) in the middle.")
    ] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep logs and data in this folder.")] = None,
    stay: Annotated[bool, typer.Option("--stay", help="Leave everything running after the run, until Ctrl-C.")] = False,
    json: output.Json = False,
) -> None:
    """Play recorded home streams through the whole system, and check every promise at the end."""
    from services.local.demo.report import render
    from services.local.demo.run import DemoOptions, run_demo
    from services.local.demo.screen import Screen

    streams = tuple(stream or STREAMS)
    if unknown := [name for name in streams if name not in STREAMS]:
        raise output.UsageError(f"There is no stream {', '.join(unknown)}.", f"There are {', '.join(STREAMS)}.")
    options = DemoOptions(from_s, min(seconds, 120 - from_s), speed, streams, kill, ROOT / "data", stay)
    folder = keep or Path(tempfile.mkdtemp(prefix="braid-demo-"))
    summaries: list[dict[str, Any]] = []

    def show(summary: dict[str, Any]) -> None:
        summaries.append(summary)
        if json:
            output.print_json(summary)
        else:
            print(render(summary))
        sys.stdout.flush()

    try:
        asyncio.run(run_demo(options, load(), folder, Screen(), show))
    except KeyboardInterrupt:
        if not summaries:
            output.note("interrupted; everything that was started is stopped")
            sys.exit(130)
    finally:
        # Logs are of use after a failure only.
        if keep is None and (not any(folder.iterdir()) or (summaries and summaries[0]["ok"])):
            shutil.rmtree(folder, ignore_errors=True)
    (summary,) = summaries
    if not summary["ok"]:
        problems = "; ".join(summary["troubles"]) or "Not every chunk has exactly one fate."
        raise BraidError("The demo found broken promises.", problems, f"The logs are in {folder}.")
