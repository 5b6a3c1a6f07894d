"""`braid compress`."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from services.cli import load_model, output
from services.cli.train import task_progress
from services.contract.user_errors import BraidError
from services.runtime.settings import ROOT

UNITS = {"": 1, "KB": 1_000, "MB": 1_000_000}


def compress(
    model: Annotated[Path, typer.Argument(help="The checkpoint of a task.")],
    to: Annotated[Literal["int8"], typer.Option(help="The number format of the weights.")] = "int8",
    budget: Annotated[str, typer.Option(help="The largest size of the weights, for example 400KB.")] = "400KB",
    data: Annotated[str, typer.Option(help="The data set to train a student on, and to measure on.")] = "tridigit",
    epochs: Annotated[int, typer.Option(min=1, envvar="BRAID_COMPRESS_EPOCHS", help="Epochs of the student.")] = 30,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write. Default: beside MODEL, with the format in its name.")
    ] = None,
    json: output.Json = False,
) -> None:
    """Compress a model: weights in eight bits and, if that is not enough, a narrower student that learns from it."""
    from model.checkpoint import load_task_network, save
    from model.checkpoint_files import CARD
    from model.compress import compress_model, measure_compressed
    from model.data.registry import read_set, recipe_for

    bytes_max = parse_size(budget)
    network, config = load_task_network(model)
    samples = read_set(data, ROOT / "data")
    original = load_model.load_model(model)
    recipe = replace(recipe_for(samples, network.architecture.fusion), epochs=epochs)
    try:
        with task_progress(recipe) as report:
            steps = compress_model(network, config, samples, samples.sentences(), bytes_max, recipe, report)
    except ValueError as error:
        raise BraidError("The budget is too small.", f"{error}.", "Give a larger --budget.") from error
    out = out or model.parent.parent / f"{model.parent.name}-{to}" / model.name
    rows = [
        {"step": "original", "bytes": (model / "model.safetensors").stat().st_size}
        | measure_compressed(original, original, samples)
    ]
    for step in steps:
        step_config = step.config | {"name": out.parent.name, "version": out.name, "compressed": step.step}
        save(out, step.network, step_config, "", int8=True)
        rows.append(
            {"step": step.step, "bytes": step.bytes} | measure_compressed(load_model.load_model(out), original, samples)
        )
    command = f"braid compress {model} --to {to} --budget {budget} --data {data} --epochs {epochs}"
    card = (model / CARD).read_text() + f"\n## Compression\nMade by `{command}`.\n\n{_table(rows)}"
    save(out, steps[-1].network, step_config, card, int8=True)
    if json:
        output.print_json(rows)
    else:
        print(_table(rows))
    if steps[-1].bytes > bytes_max:
        raise BraidError(f"{out} is larger than the budget.", f"It takes {steps[-1].bytes} bytes, not {budget}.")


def parse_size(text: str) -> int:
    """Return the bytes of a size such as 64KB; a KB is 1,000 bytes."""
    match = re.fullmatch(r"(\d+)\s*(KB|MB|)", text.strip().upper())
    if not match:
        raise output.UsageError(f"A size is written as 64KB, not {text}.")
    return int(match[1]) * UNITS[match[2]]


def _table(steps: list[dict[str, Any]]) -> str:
    cells = [(severity, subset) for severity, scores in steps[0]["accuracy"].items() for subset in scores]
    names = [f"{severity} {'+'.join(part[0].upper() for part in subset.split('+'))}" for severity, subset in cells]
    rows = [
        [
            step["step"],
            str(step["bytes"]),
            f"{step['agreement']:.3f}",
            f"{step['ms']:.1f}",
            *(f"{100 * step['accuracy'][severity][subset]:.1f}" for severity, subset in cells),
        ]
        for step in steps
    ]
    return output.table(["step", "bytes", "agreement", "ms", *names], rows)
