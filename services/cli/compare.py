"""`braid compare`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from services.cli import output
from services.cli.train_task import progress
from services.runtime.settings import ROOT


def compare(
    data: Annotated[Literal["tridigit"], typer.Option(help="The set.")] = "tridigit",
    severity: Annotated[Literal["clean", "noisy", "harsh"], typer.Option(help="In which it is scored.")] = "harsh",
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Trainings of each fusion.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Of each training.")] = 45,
    fusions: Annotated[str, typer.Option(help="Names with commas between; default: all.")] = "",
    out: Annotated[Path, typer.Option(help="The folder for the table and the plot.")] = ROOT / "docs" / "results",
    keep: Annotated[
        Path | None,
        typer.Option(help="A folder for the trained models; those that are there already are not trained again."),
    ] = None,
    json: output.Json = False,
) -> None:
    """Train every fusion with the same seeds and compare them on the test rows: a table and a plot."""
    from model.compare import compare_fusions as compared
    from model.data.registry import UnknownDataSet, read_set
    from model.data.tridigit import Tridigit
    from model.fusion import FUSIONS
    from model.plot import save_bar_chart
    from model.recipe import TaskRecipe

    names = fusions.split(",") if fusions else list(FUSIONS)
    unknown = [name for name in names if name not in FUSIONS]
    if unknown:
        output.fail(f"no fusion {unknown[0]}: there are {', '.join(FUSIONS)}", 2)
    try:
        found = read_set(data, ROOT / "data")
    except UnknownDataSet as error:
        output.fail(str(error), 2)
    assert isinstance(found, Tridigit)
    recipe = replace(TaskRecipe(), epochs=epochs)
    with progress(recipe) as report:
        rows = compared(
            found,
            ROOT / "data" / "assistvec" / "vectors.npz",
            names,
            range(1, seeds + 1),
            severity,
            recipe,
            report,
            keep,
        )
    command = f"braid compare --data {data} --severity {severity} --seeds {seeds} --epochs {epochs}"
    command += f" --fusions {fusions}" if fusions else ""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"compare-{data}-{severity}.md").write_text(table(rows, command, severity))
    subsets = [name for name in rows[0] if name in ("text", "video", "audio") or "+" in name]
    short = ["+".join(part[0].upper() for part in name.split("+")) for name in subsets]
    save_bar_chart(
        out / f"compare-{data}-{severity}.png",
        f"{data}, {severity}: accuracy on test by the senses that are there, mean of {seeds} seeds",
        short,
        {row["fusion"]: [row[name] for name in subsets] for row in rows},
    )
    if json:
        output.result(rows)
    else:
        print(table(rows, command, severity))


def table(rows: list[dict[str, Any]], command: str, severity: str) -> str:
    """Markdown, with the command that made it."""
    columns = [name for name in rows[0] if name not in ("fusion", "parameters", "ece", "excess_ece", "ms")]
    head = ["fusion", *columns, "ECE (all)", "excess ECE", "parameters", "ms a decision"]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        shares = [f"{100 * row[name]:.1f}" for name in columns]
        rest = [f"{row['ece']:.3f}", f"{row['excess_ece']:+.3f}", str(row["parameters"]), f"{row['ms']:.1f}"]
        lines.append(f"| {' | '.join([row['fusion'], *shares, *rest])} |")
    return f"# Fusions compared, {severity}\n\nMade by `{command}`. Accuracy in percent on the test rows.\n\n" + (
        "\n".join(lines) + "\n"
    )
