"""`braid train`: the model of streams, or a model of a task of labelled samples."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import output
from services.runtime.settings import ROOT

if TYPE_CHECKING:
    from model.data.registry import DataSet
    from model.fit_and_calibrate import Report
    from model.recipe import TaskRecipe

STREAMS, SEVERAL = "home", "several"


def train(
    data: Annotated[
        str, typer.Option(help="tridigit, homesound10, a manifest (*.jsonl), or the folder of the data sets.")
    ] = str(ROOT / "data"),
    task: Annotated[
        str, typer.Option(help="If --data is a folder: home (streams), tridigit, homesound10 or several.")
    ] = STREAMS,
    out: Annotated[
        Path | None,
        typer.Option(help="The folder of the checkpoint, <models>/<name>/<version>. Default: models/<task>/1."),
    ] = None,
    fusion: Annotated[
        str, typer.Option(help="mean, concat, transformer, late, experts or gated; not for home.")
    ] = "gated",
    epochs: Annotated[
        int | None,
        typer.Option(min=1, envvar="BRAID_TRAIN_EPOCHS", help="Not for home. Default: what suits the data set."),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="Samples in a batch; not for home.")] = None,
    resume: Annotated[
        bool, typer.Option(help="Save the state after each epoch and continue from it; not for home.")
    ] = False,
    single_steps: Annotated[
        int, typer.Option(min=0, help="For home: steps of the first phase, each modality alone.")
    ] = 1000,
    steps: Annotated[
        int, typer.Option(min=1, help="For home: steps of the second phase, all modalities and their fusion.")
    ] = 450,
    seed: Annotated[int, typer.Option(help="The same seed gives the same model on the same machine.")] = 7,
    private_epsilon: Annotated[
        float | None,
        typer.Option(help="Train with differential privacy: the privacy budget of each row (tridigit or a manifest)."),
    ] = None,
    private_delta: Annotated[float, typer.Option(help="The probability that the budget does not hold.")] = 1e-4,
    json: output.Json = False,
) -> None:
    """Train a model: of the streams, of one sample task or several, or of your own labels."""
    folder = Path(data) if Path(data).is_dir() else ROOT / "data"
    if not Path(data).is_dir():
        task = data
    out = out or ROOT / "models" / Path(task).stem / "1"
    if private_epsilon is not None:
        from services.cli.train_research import train_private

        if task in (STREAMS, SEVERAL):
            raise output.UsageError(
                f"--private-epsilon is not for {task}.", do="Give --data tridigit or a manifest of your own."
            )
        summary = train_private(task, folder, out, private_epsilon, private_delta)
    elif task == SEVERAL:
        from services.cli.train_research import train_several

        summary = train_several(folder, out, epochs, seed)
    elif task == STREAMS:
        summary = _train_streams(folder, out, single_steps, steps, seed)
    else:
        summary = train_task(
            task, folder, out, fusion, {"epochs": epochs, "batch_size": batch_size, "seed": seed}, resume=resume
        )
    if json:
        output.print_json(summary)
    else:
        _print_summary(out, summary)


def _train_streams(data: Path, out: Path, single_steps: int, steps: int, seed: int) -> dict[str, Any]:
    from model.streams.train import StreamsRecipe
    from model.streams.train import train as train_network
    from services.offline.evaluation.finalize_training import finalize_training

    if not (data / "tridigit" / "manifest.jsonl").exists():
        raise output.UsageError(
            f"There are no data sets in {data}.",
            do="Give the folder that holds tridigit, homesound10, homestream and assistvec.",
        )
    recipe = StreamsRecipe(seed=seed, single_steps=single_steps, steps=steps)
    began = time.monotonic()
    with output.progress() as update:

        def report(step: int, point: Mapping[str, float]) -> None:
            update("training", step, single_steps + steps, losses_of(point))

        trained = train_network(data, recipe, report)
    return finalize_training(trained, recipe, data, out, time.monotonic() - began)


def train_task(
    name: str, root: Path, out: Path, fusion: str, changes: Mapping[str, Any], *, resume: bool
) -> dict[str, Any]:
    """Train and calibrate a model of a task, and write the checkpoint with its card, its curve and a plot of it.

    Args:
        name: A data set, or the path of a manifest.
        root: The folder of the data sets.
        out: The folder of the checkpoint.
        fusion: The kind of fusion.
        changes: Values of the recipe that differ from the default; None means the default.
        resume: Save the state after each epoch, and continue from it if it is there.

    Returns:
        The summary: digest, parameters, bytes, seconds, validation scores, recipe.
    """
    from model.card import render_card
    from model.checkpoint import save
    from model.cross_validation import cross_validate
    from model.data.homesound10 import Homesound10
    from model.data.registry import read_set, recipe_for
    from model.encoders.text import build_lexicon
    from model.fit_and_calibrate import checkpoint_config, fit_model
    from model.fusion import FUSIONS
    from model.streams.train import write_curve

    if fusion not in FUSIONS:
        raise output.UsageError(f"There is no fusion {fusion}.", f"There are {', '.join(FUSIONS)}.")
    data = read_set(name, root)
    recipe = replace(recipe_for(data, fusion), **{k: v for k, v in changes.items() if v is not None})
    vectors = root / "assistvec" / "vectors.npz"
    began = time.monotonic()
    state = out / "training.state"
    with task_progress(recipe) as report:
        if isinstance(data, Homesound10):
            crossed = cross_validate(data, vectors, recipe, report)
            built, scores = crossed.built, crossed.cells
        else:
            words, embeddings = build_lexicon(data.sentences(), vectors, numbers=data.name == "tridigit")
            built = fit_model(data, words, embeddings, recipe, report, state if resume else None)
            scores = built.cells
    seconds = time.monotonic() - began
    parameters = sum(p.numel() for p in built.network.parameters())
    config = checkpoint_config(built, data, recipe, out.parent.name, out.name)
    digest = save(out, built.network, config, render_card(config, parameters, seconds, scores))
    write_curve(out / "curve.jsonl", built.curve)
    _plot_curve(out / "curve.png", data, built.curve)
    state.unlink(missing_ok=True)
    return summary_of(out, digest, parameters, seconds, scores) | {"recipe": asdict(recipe)}


def summary_of(
    out: Path, digest: str, parameters: int, seconds: float, validation: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what every training reports of its checkpoint."""
    return {
        "digest": digest,
        "parameters": parameters,
        "bytes": (out / "model.safetensors").stat().st_size,
        "seconds": round(seconds),
        "validation": validation,
    }


def losses_of(point: Mapping[str, float]) -> dict[str, float]:
    """Return the losses of a point of a training curve."""
    return {name: value for name, value in point.items() if name not in ("step", "epoch", "seconds")}


@contextmanager
def task_progress(recipe: TaskRecipe) -> Iterator[Report]:
    """Show the progress of trainings by this recipe."""
    with output.progress() as update:

        def report(name: str, epoch: int, point: Mapping[str, float]) -> None:
            total = recipe.residual_epochs if name == "residual" else recipe.epochs
            update(name, epoch, total, losses_of(point))

        yield report


def _plot_curve(path: Path, data: DataSet, curve: list[dict[str, float]]) -> None:
    """Plot the validation loss of each branch, or the training loss for a data set without validation rows."""
    from model.plot import save_line_chart

    names = [f"val_{modality}" for modality in data.modalities] + ["val_nll"]
    if not curve or names[0] not in curve[0]:
        names = list(data.modalities)
    lines = {name: [point[name] for point in curve] for name in names if curve and name in curve[0]}
    if lines:
        save_line_chart(path, f"{data.name}: loss by epoch", lines)


def _print_summary(out: Path, summary: Mapping[str, Any]) -> None:
    size = f", {summary['bytes']} bytes" if "bytes" in summary else ""
    output.note(
        f"{out}: digest {summary['digest'][:12]}, {summary['parameters']} parameters{size}, {summary['seconds']} s"
    )
    for name, scores in summary["validation"].items():
        calibration = f"  ECE {scores['ece']:.3f}" if "ece" in scores else ""
        print(f"  {name:18} accuracy {scores['accuracy']:.3f}  NLL {scores['nll']:.3f}{calibration}")
    for name, scores in summary.get("streams", {}).items():
        counts = f"{scores['hits']} of {scores['true']} detected, {scores['reported']} reported"
        print(f"  streams ({name}): event F1 {scores['f1']} ({counts})")
    if "privacy" in summary:
        privacy = summary["privacy"]
        print(f"  epsilon {privacy['epsilon']:.2f} at delta {privacy['delta']:g}, noise {privacy['noise']:.2f}")
