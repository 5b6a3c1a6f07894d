"""`braid train` for a task of labelled samples: tridigit, homesound10 or a manifest of your own."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from services.cli import output

if TYPE_CHECKING:
    from model.data.registry import DataSet
    from model.fit import Report
    from model.recipe import TaskRecipe


def train_task(
    name: str, root: Path, out: Path, fusion: str, changed: Mapping[str, Any], *, resume: bool
) -> dict[str, Any]:
    """Train, calibrate and write the checkpoint with its card, its curve and the curve's picture; what was reached."""
    from model.card import render_card
    from model.checkpoint import save
    from model.cross_validation import cross_validate
    from model.data.homesound10 import Homesound10
    from model.data.registry import UnknownDataSet, read_set, recipe_for
    from model.fit import checkpoint_config, fit_model
    from model.fusion import FUSIONS
    from model.manifest import ManifestError
    from model.streams.train import write_curve
    from model.training_state import ResumeError
    from model.vocabulary import build_lexicon

    if fusion not in FUSIONS:
        output.fail(f"no fusion {fusion}: there are {', '.join(FUSIONS)}", 2)
    try:
        data = read_set(name, root)
    except (UnknownDataSet, ManifestError) as error:
        output.fail(str(error), 2)
    recipe = replace(recipe_for(data, fusion), **{k: v for k, v in changed.items() if v is not None})
    vectors = root / "assistvec" / "vectors.npz"
    began = time.monotonic()
    state = out / "training.state"
    with progress(recipe) as report:
        if isinstance(data, Homesound10):
            crossed = cross_validate(data, vectors, recipe, report)
            built, cells = crossed.built, crossed.cells
        else:
            words, table = build_lexicon(data.sentences(), vectors, numbers=data.name == "tridigit")
            try:
                built = fit_model(data, words, table, recipe, report, state if resume else None)
            except ResumeError as error:
                output.fail(str(error))
            cells = built.cells
    seconds = time.monotonic() - began
    parameters = sum(p.numel() for p in built.network.parameters())
    config = checkpoint_config(built, data, recipe, out.parent.name, out.name)
    digest = save(out, built.network, config, render_card(config, parameters, seconds, cells))
    write_curve(out / "curve.jsonl", built.curve)
    draw(out / "curve.png", data, built.curve)
    state.unlink(missing_ok=True)
    size = (out / "model.safetensors").stat().st_size
    told = {"digest": digest, "parameters": parameters, "bytes": size, "seconds": round(seconds)}
    return told | {"validation": cells, "recipe": asdict(recipe)}


def draw(path: Path, data: DataSet, curve: list[dict[str, float]]) -> None:
    """The losses on validation by branch, or the training's where there is no validation."""
    from model.plot import save_line_chart

    names = [f"val_{m}" for m in data.modalities] + ["val_nll"]
    if not curve or names[0] not in curve[0]:
        names = list(data.modalities)
    lines = {name: [point[name] for point in curve] for name in names if curve and name in curve[0]}
    if lines:
        save_line_chart(path, f"{data.name}: loss by epoch", lines)


@contextmanager
def progress(recipe: TaskRecipe) -> Iterator[Report]:
    """A bar on a terminal, a line every few epochs elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[losses]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as shown:
        bars: dict[str, Any] = {}

        def report(what: str, number: int, point: Mapping[str, float]) -> None:
            total = recipe.residual_epochs if what == "residual" else recipe.epochs
            if what not in bars:
                bars[what] = shown.add_task(what, total=total, losses="")
            losses = " ".join(f"{k} {v:.2f}" for k, v in point.items() if k not in ("epoch", "seconds"))
            shown.update(bars[what], completed=number, losses=losses)
            if not console.is_terminal and (number % 5 == 0 or number == total):
                console.print(f"{what} {number} of {total}: {losses}", soft_wrap=True)

        yield report


def tell(out: Path, told: Mapping[str, Any]) -> None:
    """The result for people."""
    print(
        f"{out}: digest {told['digest'][:12]}, {told['parameters']} parameters, {told['bytes']} bytes, {told['seconds']} s",
        file=sys.stderr,
    )
    for name, cell in told["validation"].items():
        print(f"  {name:18} accuracy {cell['accuracy']:.3f}  NLL {cell['nll']:.3f}")
