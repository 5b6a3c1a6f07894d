"""`braid record`."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import output
from services.contract.user_errors import BraidError
from services.runtime.settings import Settings, load

if TYPE_CHECKING:
    from services.offline.recording.recorder import RecordingSummary

PROGRESS_INTERVAL_S = 1.0


def record(
    out: Annotated[Path, typer.Argument(help="The MCAP file to write; it must not exist.")],
    since: Annotated[
        float | None, typer.Option(help="Only the last minutes. Default: everything that is retained.", min=0)
    ] = None,
    session: Annotated[
        str | None,
        typer.Option(help="Only this session, and the idle records of its partition. Default: all sessions."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C. Default: up to now.")] = False,
    json: output.Json = False,
) -> None:
    """Record the topics into one MCAP file: media and idle records, windows, predictions, events, byte for byte.

    Any MCAP reader opens it (Foxglove shows the images), and `braid replay` runs it again.
    """
    from aiokafka.errors import KafkaError

    settings = load()
    settings.require_broker()
    if out.exists():
        raise output.UsageError(f"{out} exists.", "A recording is never overwritten.", "Give another name.")
    since_ms = None if since is None else int((time.time() - since * 60) * 1000)
    try:
        summary = asyncio.run(_record(settings, out, since_ms, session, follow))
    except KafkaError as error:
        if not out.exists():
            raise
        raise BraidError(f"The recording {out} is not complete.", f"{type(error).__name__}: {error}") from error
    except KeyboardInterrupt:
        output.note(f"The recording {out} is not complete.\nIt was interrupted.")
        sys.exit(130)
    config = settings.alignment_config().digest
    if json:
        output.print_json(
            {
                "file": str(out),
                "bytes": out.stat().st_size,
                "records": dict(summary.counts),
                "windows_by_config": dict(summary.configs),
                "config": config,
            }
        )
    else:
        for topic, count in sorted(summary.counts.items()):
            print(f"{count:8} {topic}")
        print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    others = sum(count for name, count in summary.configs.items() if name != config)
    if others:
        output.note(
            f"{others} windows were made under alignment settings other than the current ones ({config}), and a replay "
            "does not compare them. Record with the settings that the aligner has."
        )


async def _record(
    settings: Settings, out: Path, since_ms: int | None, session: str | None, follow: bool
) -> RecordingSummary:
    from services.kafka import clients
    from services.offline.recording.recorder import record_topics

    stop = asyncio.Event() if follow else None
    if stop is not None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        output.note("recording until Ctrl-C")
    shown_s = time.monotonic()

    def show_progress(total: int) -> None:
        nonlocal shown_s
        if sys.stderr.isatty() and time.monotonic() - shown_s > PROGRESS_INTERVAL_S:
            shown_s = time.monotonic()
            print(f"\r{total} records", end="", file=sys.stderr, flush=True)

    async with clients.reader(settings.kafka, with_forged=True) as reader:
        return await record_topics(reader, settings, out, since_ms, stop, show_progress, session)
