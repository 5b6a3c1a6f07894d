"""`braid compress`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from services.cli import output
from services.cli.train_task import progress
from services.runtime.settings import ROOT

UNITS = {"": 1, "KB": 1_000, "MB": 1_000_000}


def compress(
    model: Annotated[Path, typer.Argument(help="A checkpoint of a task.")],
    to: Annotated[Literal["int8"], typer.Option(help="The kind of number that weights become.")] = "int8",
    budget: Annotated[str, typer.Option(help="What the weights may take, as 400KB.")] = "400KB",
    data: Annotated[
        str, typer.Option(help="The set to learn from where a student is needed, and to measure on.")
    ] = "tridigit",
    epochs: Annotated[int, typer.Option(min=1, envvar="BRAID_COMPRESS_EPOCHS", help="Of the student.")] = 30,
    out: Annotated[
        Path | None, typer.Option(help="Where it goes; default: beside MODEL, with the kind in its name.")
    ] = None,
    json: output.Json = False,
) -> None:
    """Make a model smaller: eight bits, and a narrower student that learns from it where that is not enough."""
    from model.checkpoint import CARD, CheckpointError, load, load_task_network, save
    from model.compress import compress_model, measure_compressed
    from model.data.registry import UnknownDataSet, read_set, recipe_for
    from model.manifest import ManifestError

    allowed = bytes_of(budget)
    try:
        found = read_set(data, ROOT / "data")
        network, config = load_task_network(model)
        original = load(model, "cpu")
    except (UnknownDataSet, ManifestError) as error:
        output.fail(str(error), 2)
    except CheckpointError as error:
        output.fail(str(error))
    recipe = replace(recipe_for(found, network.architecture.fusion), epochs=epochs)
    try:
        with progress(recipe) as report:
            steps = compress_model(network, config, found, found.sentences(), allowed, recipe, report)
    except ValueError as error:
        output.fail(f"{error}: give more")
    out = out or model.parent.parent / f"{model.parent.name}-{to}" / model.name
    rows = [
        {"step": "original", "bytes": (model / "model.safetensors").stat().st_size}
        | measure_compressed(original, original, found)
    ]
    for step in steps:
        own = step.config | {"name": out.parent.name, "version": out.name, "compressed": step.step}
        save(out, step.network, own, "", int8=True)
        rows.append({"step": step.step, "bytes": step.bytes} | measure_compressed(load(out, "cpu"), original, found))
    command = f"braid compress {model} --to {to} --budget {budget} --data {data} --epochs {epochs}"
    card = (model / CARD).read_text() + f"\n## Compression\nMade by `{command}`.\n\n{table(rows)}"
    save(out, steps[-1].network, own, card, int8=True)
    if json:
        output.result(rows)
    else:
        print(table(rows))
    if steps[-1].bytes > allowed:
        output.fail(f"{out} takes {steps[-1].bytes} bytes, more than {budget}")


def bytes_of(text: str) -> int:
    """64KB as a number; KB is 1,000 bytes."""
    found = re.fullmatch(r"(\d+)\s*(KB|MB|)", text.strip().upper())
    if not found:
        output.fail(f"a budget is written as 64KB, not {text}", 2)
    return int(found[1]) * UNITS[found[2]]


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a row for each step, accuracy in percent by cell."""
    cells = [(severity, name) for severity, own in rows[0]["accuracy"].items() for name in own]
    short = [f"{severity} {'+'.join(part[0].upper() for part in name.split('+'))}" for severity, name in cells]
    head = ["step", "bytes", "agreement", "ms", *short]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        shares = [f"{100 * row['accuracy'][severity][name]:.1f}" for severity, name in cells]
        told = [row["step"], str(row["bytes"]), f"{row['agreement']:.3f}", f"{row['ms']:.1f}", *shares]
        lines.append(f"| {' | '.join(told)} |")
    return "\n".join(lines) + "\n"
