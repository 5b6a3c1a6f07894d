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
from services.runtime.settings import Settings, load

if TYPE_CHECKING:
    from services.offline.recording.recorder import RecordingSummary

TOLD_EVERY_S = 1.0


def record(
    out: Annotated[Path, typer.Argument(help="The MCAP file to write; it must not exist yet.")],
    since: Annotated[
        float | None, typer.Option(help="Only the last so many minutes; default: all that the topics keep.", min=0)
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until Ctrl-C; default: up to now.")] = False,
    json: output.Json = False,
) -> None:
    """Record the topics into one MCAP file: media and ticks, windows, predictions, events, byte for byte.

    It opens in any MCAP reader (Foxglove shows the pictures), and `braid replay` plays it again.
    """
    from aiokafka.errors import KafkaError

    settings = load()
    if not settings.kafka.bootstrap_servers:
        output.no_broker()
    if out.exists():
        output.fail(f"{out} exists already: a recording is never written over", 2)
    since_ms = None if since is None else int((time.time() - since * 60) * 1000)
    try:
        taken = asyncio.run(_record(settings, out, since_ms, follow))
    except KafkaError as error:
        output.fail(f"the broker fails: {error}. What was recorded until then is in {out}")
    except KeyboardInterrupt:
        output.fail(f"stopped before the end; what was recorded until then is in {out}", 130)
    except OSError as error:
        output.fail(f"{out} cannot be written: {error.strerror or error}")
    ours = settings.alignment_config().digest
    others = {config: count for config, count in taken.configs.items() if config != ours}
    if json:
        output.result(
            {
                "file": str(out),
                "bytes": out.stat().st_size,
                "records": dict(taken.counts),
                "windows_by_config": dict(taken.configs),
                "config": ours,
            }
        )
    else:
        for topic, count in sorted(taken.counts.items()):
            print(f"{count:8} {topic}")
        print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")
    if others:
        print(
            f"braid: {sum(others.values())} windows were made under other settings than those in force here ({ours}): a "
            "replay compares the others only. Record with the settings that the aligner has",
            file=sys.stderr,
        )


async def _record(settings: Settings, out: Path, since_ms: int | None, follow: bool) -> RecordingSummary:
    from services.kafka import clients
    from services.offline.recording.recorder import record_topics

    stop = asyncio.Event() if follow else None
    if stop is not None:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        print("braid: recording; Ctrl-C ends it", file=sys.stderr)
    told_s = time.monotonic()

    def seen(total: int) -> None:
        nonlocal told_s
        if sys.stderr.isatty() and time.monotonic() - told_s > TOLD_EVERY_S:
            told_s = time.monotonic()
            print(f"\r{total} records", end="", file=sys.stderr, flush=True)

    async with clients.reader(settings.kafka) as reader:
        return await record_topics(reader, settings, out, since_ms, stop, seen)
