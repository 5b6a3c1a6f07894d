"""`braid bench gpu`: how many windows per second a device predicts."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from services.cli import output

if TYPE_CHECKING:
    from model.throughput import ThroughputReport

app = typer.Typer(no_args_is_help=True, help="Measure the throughput of this machine.")
QUICK_BATCHES = (1, 2)
BATCH_MAX = 4_096


@app.callback()
def bench() -> None:
    """Keep `gpu` a command of a group: typer would otherwise merge a single command into it."""


@app.command("gpu")
def gpu(
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="The device to measure.")] = "auto",
    batches: Annotated[
        str, typer.Option(help="Windows in a batch; several sizes with commas.")
    ] = "1,2,4,8,16,32,64,128,256",
    quick: Annotated[
        bool, typer.Option("--quick", help="Two batch sizes, no compilation, a tenth of the time.")
    ] = False,
    seconds: Annotated[float, typer.Option(min=0.01, max=60, help="The duration of each measurement.")] = 1.0,
    threads: Annotated[int, typer.Option(min=1, max=1_024, help="Threads of torch on a CPU.")] = 1,
    out: Annotated[
        Path | None, typer.Option(help="Also write the table into this folder, as gpu-cuda.md or gpu-cpu.md.")
    ] = None,
    json: output.Json = False,
) -> None:
    """Measure windows per second and MFU of a model of the shipped shape, by batch size and execution mode.

    From prepared inputs in host memory to results in host memory. MFU is the model's arithmetic as a share of what a large
    matrix product reaches on this device. Cached encoders: only items that the previous window did not have are encoded.
    """
    from model.throughput import describe_device, measure_throughput, select_device

    sizes, each = (QUICK_BATCHES, seconds / 10) if quick else (_sizes(batches), seconds)
    try:
        torch_device = select_device(device, threads)
    except ValueError as error:
        raise output.UsageError(f"The device {device} cannot be used.", str(error)) from error
    options = "--quick" if quick else f"--batches {','.join(map(str, sizes))} --seconds {each:g}"
    report = measure_throughput(torch_device, sizes, each, not quick, (lambda _: None) if json else output.note)
    machine = {"command": f"braid bench gpu {options}", **describe_device(torch_device)}
    if out is not None:
        (out / f"gpu-{torch_device.type}.md").write_text(_page(machine, report))
    if json:
        output.print_json({**machine, **report.as_json()})
    else:
        print(_page(machine, report))


def _sizes(text: str) -> tuple[int, ...]:
    names = [name.strip() for name in text.split(",")]
    if not all(name.isascii() and name.isdigit() and 1 <= int(name) <= BATCH_MAX for name in names):
        raise output.UsageError(f"--batches takes sizes from 1 to {BATCH_MAX} with commas, not {text}.")
    return tuple(sorted({int(name) for name in names}))


def _page(machine: dict[str, Any], report: ThroughputReport) -> str:
    day = datetime.now(UTC).date().isoformat()
    text = (
        f"# Throughput of a device\n\nMade by `{machine['command']}` on {day}. Machine: {machine['machine']} "
        f"({machine['device']}), torch {machine['torch']}.\n"
        f"A large matrix product reaches {machine['matrix_gflops']} GFLOP/s, which is 100 % MFU.\n\n"
    )
    if machine["device"] == "cpu":
        text += (
            "**Measured on a CPU.** The rows show what cached encoders save, and nothing about a GPU: run the same command\n"
            f"on one. Load average at the end: {machine['load']} on {machine['cores']} cores; more than one per core slows "
            "all rows.\n\n"
        )
    rows = [
        [
            row.way,
            str(row.batch),
            f"{row.windows_per_s:.1f}",
            f"{100 * row.mfu:.1f}",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
        ]
        for row in report.rows
    ]
    return text + (
        f"A network of the shipped model's shape: {report.parameters / 1e6:.1f} M parameters, {report.gflop} GFLOP per "
        f"window with everything encoded, {report.cached_gflop} with cached encoders.\n"
        f"Largest difference between its probabilities and the CPU's for the same window: {report.differs:.1e}.\n\n"
        + output.table(["mode", "batch", "windows/s", "MFU %", "p50 ms", "p99 ms"], rows)
    )
