"""`braid bench`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli import output

if TYPE_CHECKING:
    from model.throughput import ThroughputReport

app = typer.Typer(no_args_is_help=True, help="Measure what this machine can carry.")
QUICK_BATCHES = (1, 2)
BATCH_MAX = 4_096


@app.callback()
def bench() -> None:
    """A group of its own, though it has one command: the others are `make bench`."""


@app.command("gpu")
def gpu(
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    batches: Annotated[str, typer.Option(help="Windows at a time, with commas.")] = "1,2,4,8,16,32,64,128,256",
    quick: Annotated[bool, typer.Option("--quick", help="Two batches, nothing compiled, a tenth of the time.")] = False,
    model: Annotated[str, typer.Option(help="home, fusion-base, or all: one after the other.")] = "all",
    seconds: Annotated[float, typer.Option(min=0.01, max=60, help="Of each measurement.")] = 1.0,
    threads: Annotated[int, typer.Option(min=1, max=1_024, help="Of torch, on the CPU.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Write the table into this folder, too, as gpu-cuda.md or gpu-cpu.md.")
    ] = None,
    json: output.Json = False,
) -> None:
    """Windows a second and MFU of the small model and of one of 32 M parameters (untrained), by batch and way of running.

    From prepared inputs in memory to results in memory. MFU: their arithmetic as a share of what a large product of
    matrices reaches on this device in the same precision. Cached encoders: only what the window before did not have is
    encoded. Runs on a CPU too.
    """
    from model.throughput import MODELS, describe_device, measure_throughput, select_device

    try:
        where = select_device(device, threads)
    except ValueError as error:
        output.fail(str(error), code=2)
    progress = (lambda text: None) if json else (lambda text: typer.echo(f"· {text}", err=True))
    sizes, each = (QUICK_BATCHES, seconds / 10) if quick else (_sizes(batches), seconds)
    if model not in (*MODELS, "all"):
        output.fail(f"--model takes {', '.join(MODELS)} or all, not {model}", code=2)
    asked = "" if model == "all" else f"--model {model} "
    asked += "--quick" if quick else f"--batches {','.join(map(str, sizes))} --seconds {each:g}"
    reports: list[ThroughputReport] = []
    for name in MODELS if model == "all" else (model,):
        reports.append(measure_throughput(name, where, sizes, each, not quick, progress))
        told = {"command": f"braid bench gpu {asked}", **describe_device(where)}
        text = page(told, reports)
        if out is not None:  # the first model's at once: all of it takes many minutes
            (out / f"gpu-{where.type}.md").write_text(text)
    if json:
        output.result({**told, "models": [report.as_json() for report in reports]})
    else:
        typer.echo(text)


def _sizes(given: str) -> tuple[int, ...]:
    """Batch sizes, ascending, from their list."""
    names = [name.strip() for name in given.split(",")]
    if not all(name.isascii() and name.isdigit() and 1 <= int(name) <= BATCH_MAX for name in names):
        output.fail(f"--batches takes sizes from 1 to {BATCH_MAX} with commas, not {given}", code=2)
    return tuple(sorted({int(name) for name in names}))


def page(told: dict[str, object], reports: list[ThroughputReport]) -> str:
    """The tables as Markdown."""
    day = datetime.now(UTC).date().isoformat()
    lines = [
        "# Throughput of a device",
        "",
        f"Made by `{told['command']}` on {day}. Machine: {told['machine']} ({told['device']}), torch {told['torch']}.",
        f"A large matrix product{' in bfloat16' if told['device'] != 'cpu' else ''} reaches {told['matrix_gflops']} GFLOP/s; "
        "100 % MFU is that of the model's own precision.",
        "",
    ]
    if told["device"] == "cpu":
        lines += [
            "**Measured on a CPU.** The rows show what cached encoders save, and nothing about a GPU: run the same command",
            f"on one. Load average at the end: {told['load']} on {told['cores']} cores; more than one per core slows all rows.",
            "",
        ]
    for r in reports:
        trained = "untrained weights, for capacity only" if r.parameters > 1_000_000 else "of the shipped model's shape"
        lines += [
            f"## {r.model}: {r.parameters / 1e6:.1f} M parameters ({trained}), {r.precision}",
            "",
            f"{r.gflop} GFLOP per window with everything encoded, {r.cached_gflop} with cached encoders.",
            f"Largest difference between its probabilities and the CPU's for the same window: {r.differs:.1e}.",
            "",
            "| mode | batch | windows/s | MFU % | p50 ms | p99 ms |",
            "|---|---|---|---|---|---|",
        ]
        for row in r.rows:
            shares = f"{100 * row.mfu:.1f} | {row.p50_ms:.2f} | {row.p99_ms:.2f}"
            lines.append(f"| {row.way} | {row.batch} | {row.windows_per_s:.1f} | {shares} |")
        lines.append("")
    return "\n".join(lines)
