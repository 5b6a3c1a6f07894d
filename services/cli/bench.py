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
    seconds: Annotated[float, typer.Option(min=0.01, max=60, help="Of each measurement.")] = 1.0,
    threads: Annotated[int, typer.Option(min=1, max=1_024, help="Of torch, on the CPU.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Write the table into this folder, too, as gpu-cuda.md or gpu-cpu.md.")
    ] = None,
    json: output.Json = False,
) -> None:
    """Measure windows per second and MFU of a model of the shipped shape, by batch size and execution mode.

    From prepared inputs in host memory to results in host memory. MFU is the model's arithmetic as a share of what a large
    matrix product reaches on this device. Cached encoders: only items that the previous window did not have are encoded.
    Runs on a CPU, too.
    """
    from model.throughput import describe_device, measure_throughput, select_device

    try:
        where = select_device(device, threads)
    except ValueError as error:
        output.fail(str(error), code=2)
    progress = (lambda text: None) if json else (lambda text: typer.echo(f"· {text}", err=True))
    sizes, each = (QUICK_BATCHES, seconds / 10) if quick else (_sizes(batches), seconds)
    options = "--quick" if quick else f"--batches {','.join(map(str, sizes))} --seconds {each:g}"
    report = measure_throughput(where, sizes, each, not quick, progress)
    device_facts = {"command": f"braid bench gpu {options}", **describe_device(where)}
    text = page(device_facts, report)
    if out is not None:
        (out / f"gpu-{where.type}.md").write_text(text)
    if json:
        output.result({**device_facts, **report.as_json()})
    else:
        typer.echo(text)


def _sizes(given: str) -> tuple[int, ...]:
    """Batch sizes, ascending, from their list."""
    names = [name.strip() for name in given.split(",")]
    if not all(name.isascii() and name.isdigit() and 1 <= int(name) <= BATCH_MAX for name in names):
        output.fail(f"--batches takes sizes from 1 to {BATCH_MAX} with commas, not {given}", code=2)
    return tuple(sorted({int(name) for name in names}))


def page(device_facts: dict[str, object], report: ThroughputReport) -> str:
    """Render the table as Markdown."""
    day, facts = datetime.now(UTC).date().isoformat(), device_facts
    lines = [
        "# Throughput of a device",
        "",
        f"Made by `{facts['command']}` on {day}. Machine: {facts['machine']} ({facts['device']}), torch {facts['torch']}.",
        f"A large matrix product reaches {facts['matrix_gflops']} GFLOP/s, which is 100 % MFU.",
        "",
    ]
    if facts["device"] == "cpu":
        lines += [
            "**Measured on a CPU.** The rows show what cached encoders save, and nothing about a GPU: run the same command",
            f"on one. Load average at the end: {facts['load']} on {facts['cores']} cores; more than one per core slows all rows.",
            "",
        ]
    lines += [
        f"A network of the shipped model's shape: {report.parameters / 1e6:.1f} M parameters, {report.gflop} GFLOP per window "
        f"with everything encoded, {report.cached_gflop} with cached encoders.",
        f"Largest difference between its probabilities and the CPU's for the same window: {report.differs:.1e}.",
        "",
        "| mode | batch | windows/s | MFU % | p50 ms | p99 ms |",
        "|---|---|---|---|---|---|",
    ]
    for row in report.rows:
        shares = f"{100 * row.mfu:.1f} | {row.p50_ms:.2f} | {row.p99_ms:.2f}"
        lines.append(f"| {row.way} | {row.batch} | {row.windows_per_s:.1f} | {shares} |")
    return "\n".join([*lines, ""])
