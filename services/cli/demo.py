"""`braid demo`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli import output
from services.runtime.settings import ROOT, load

STREAMS = tuple(f"S{n:02d}" for n in range(1, 9))


def demo(
    from_s: Annotated[
        float, typer.Option("--from", envvar="BRAID_DEMO_FROM", help="First stream second.", min=0, max=119)
    ] = 30,
    seconds: Annotated[
        float, typer.Option(envvar="BRAID_DEMO_SECONDS", help="How many stream seconds.", min=4, max=120)
    ] = 40,
    speed: Annotated[
        float, typer.Option(envvar="BRAID_DEMO_SPEED", help="Faster than life, for tests; patience is divided by it.")
    ] = 1,
    stream: Annotated[
        list[str] | None, typer.Option(envvar="BRAID_DEMO_STREAM", help="Only these streams (S01 to S08).")
    ] = None,
    kill: Annotated[str | None, typer.Option(help="kill -9 this service in the middle: aligner or fusion.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep logs and data in this folder.")] = None,
    stay: Annotated[bool, typer.Option("--stay", help="Leave everything up after the run, until Ctrl-C.")] = False,
    json: output.Json = False,
) -> None:
    """Play recorded home streams through the whole system, for real, and check every promise at the end."""
    from aiokafka.errors import KafkaError

    from services.local.demo.run import Options, run
    from services.local.demo.screen import Screen
    from services.local.process import StartError

    streams = tuple(stream or STREAMS)
    if unknown := [name for name in streams if name not in STREAMS]:
        output.fail(f"no such stream: {', '.join(unknown)}; there are {', '.join(STREAMS)}", 2)
    if kill not in (None, "aligner", "fusion"):
        output.fail(f"--kill takes aligner or fusion, not {kill}", 2)
    if not 0.1 <= speed <= 20:
        output.fail("--speed takes 0.1 to 20", 2)
    options = Options(from_s, min(seconds, 120 - from_s), speed, streams, kill, ROOT / "data", stay)
    folder = keep or Path(tempfile.mkdtemp(prefix="braid-demo-"))
    found: list[dict[str, Any]] = []

    def tell(out: dict[str, Any]) -> None:
        found.append(out)
        if json:
            output.result(out)
        else:
            _tell(out)
        sys.stdout.flush()

    try:
        asyncio.run(run(options, load(), folder, Screen(), tell))
    except (StartError, KafkaError) as error:
        output.fail(f"{error}\nThe logs are in {folder}")
    except KeyboardInterrupt:
        if not found:
            output.fail("stopped; everything that was started is stopped too", 130)
    (out,) = found
    if not out["ok"]:
        print(f"braid: not all is as promised: {out['troubles'] or 'the books do not balance'}", file=sys.stderr)
        print(f"braid: the logs are in {folder}", file=sys.stderr)
        sys.exit(1)


def _events(out: dict[str, Any]) -> list[str]:
    events, f1 = out["events"], out["event_f1"]
    if not events["true"]:
        return ["events    no true event lies whole in the part that was played: nothing to score"]
    found = f"{events['hits']} right of {events['true']} true, {events['said']} said"
    delay = out["event_delay_s"]
    return [
        f"events    F1 {f1['overall']} (digits {f1['digit']}, sounds {f1['sound']}): {found}; the best single sense alone "
        f"reaches {out['best_single_modality_event_f1']}",
        "          "
        + ("none was found" if delay is None else f"median {delay} s from a true start to the first right word"),
    ]


def _tell(out: dict[str, Any]) -> None:
    books, ms = out["books"], out["latency_ms"]
    fates = ", ".join(f"{books[fate]} {fate}" for fate in ("windowed", "late", "duplicate", "dead", "pending"))
    killed = out.get("killed")
    lines = [
        "",
        f"{out['streams']} streams, {out['chunks_sent']} chunks sent, {out['seconds']} s in all"
        + (
            ""
            if out["text_idle_timeout_ms"] == 6_500
            else f" (test speed: text idle timeout {out['text_idle_timeout_ms']} ms)"
        ),
        f"books     {books['admitted']} chunks = {fates}"
        + (" - they balance" if out["books_balance"] else " - THEY DO NOT BALANCE"),
        f"windows   {out['windows']} final, {out['windows_wrong']} differ from what the logs say; "
        f"{out['windows_early']} answered early",
        f"predicted {out['predictions']} windows; {out['predictions_checked']} computed again, byte for byte",
        *_events(out),
        f"latency   first answer p50 {ms['first']['p50']:.0f} / p99 {ms['first']['p99']:.0f} ms after a window's end; "
        f"final one p50 {ms['final']['p50']:.0f} ms, of which our own p99 {ms['own']['p99']:.0f} ms",
        "          (the rest of a final answer is patience: texts of these streams come up to 6.5 s late)",
    ]
    if killed:
        lines.append(
            f"killed    {killed['service']} with kill -9 while {killed['windows_open']} windows were open; back after "
            f"{killed['back_s']} s; {out['windows_repeated']} windows and {out['predictions_repeated']} predictions "
            "were sent twice, each time the same bytes"
        )
    print("\n".join(lines))
