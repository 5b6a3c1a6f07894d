"""`braid compare`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from services.cli import output
from services.cli.train import task_progress
from services.runtime.settings import ROOT


def compare(
    data: Annotated[Literal["tridigit"], typer.Option(help="The data set.")] = "tridigit",
    severity: Annotated[
        Literal["clean", "noisy", "harsh"], typer.Option(help="The degradation of the test rows.")
    ] = "harsh",
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Trainings of each fusion.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each training.")] = 45,
    fusions: Annotated[str, typer.Option(help="Names separated by commas. Default: all.")] = "",
    out: Annotated[Path, typer.Option(help="The folder of the table and the plot.")] = ROOT / "docs" / "results",
    keep: Annotated[
        Path | None,
        typer.Option(help="A folder for the trained models; those in it are not trained again."),
    ] = None,
    json: output.Json = False,
) -> None:
    """Train every fusion with the same seeds and compare them on the test rows: a table and a plot."""
    from model.compare_fusions import compare_fusions
    from model.data.registry import read_set
    from model.data.tridigit import Tridigit
    from model.fusion import FUSIONS
    from model.plot import save_bar_chart
    from model.recipe import TaskRecipe

    names = fusions.split(",") if fusions else list(FUSIONS)
    unknown = [name for name in names if name not in FUSIONS]
    if unknown:
        raise output.UsageError(f"There is no fusion {unknown[0]}.", f"There are {', '.join(FUSIONS)}.")
    samples = read_set(data, ROOT / "data")
    assert isinstance(samples, Tridigit)
    recipe, vectors = replace(TaskRecipe(), epochs=epochs), ROOT / "data" / "assistvec" / "vectors.npz"
    with task_progress(recipe) as report:
        rows = compare_fusions(samples, vectors, names, range(1, seeds + 1), severity, recipe, report, keep)
    command = f"braid compare --data {data} --severity {severity} --seeds {seeds} --epochs {epochs}"
    command += f" --fusions {fusions}" if fusions else ""
    text = f"# Fusions compared, {severity}\n\nMade by `{command}`. Accuracy in percent on the test rows.\n\n{_table(rows)}"
    out.mkdir(parents=True, exist_ok=True)
    (out / f"compare-{data}-{severity}.md").write_text(text)
    subsets = [name for name in rows[0] if name in ("text", "video", "audio") or "+" in name]
    short = ["+".join(part[0].upper() for part in name.split("+")) for name in subsets]
    save_bar_chart(
        out / f"compare-{data}-{severity}.png",
        f"{data}, {severity}: accuracy on test by the modalities present, mean of {seeds} seeds",
        short,
        {row["fusion"]: [row[name] for name in subsets] for row in rows},
    )
    if json:
        output.print_json(rows)
    else:
        print(text)


def _table(rows: list[dict[str, Any]]) -> str:
    scores = [name for name in rows[0] if name not in ("fusion", "parameters", "ece", "excess_ece", "ms")]
    columns = ["fusion", *scores, "ECE (all)", "excess ECE", "parameters", "ms a decision"]
    return output.table(
        columns,
        [
            [
                row["fusion"],
                *(f"{100 * row[name]:.1f}" for name in scores),
                f"{row['ece']:.3f}",
                f"{row['excess_ece']:+.3f}",
                str(row["parameters"]),
                f"{row['ms']:.1f}",
            ]
            for row in rows
        ],
    )
