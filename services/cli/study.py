"""`braid study`: trainings that answer a research question and write a table."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import output
from services.runtime.settings import ROOT

if TYPE_CHECKING:
    from research.sound_titles.evaluate_unseen_classes import Report

app = typer.Typer(
    no_args_is_help=True, help="Train for a research question (only in a clone): transfer, privacy, several tasks."
)
Out = Annotated[Path, typer.Option(help="The folder of the table.")]
RESULTS = ROOT / "docs" / "results"
VECTORS = ROOT / "data" / "assistvec" / "vectors.npz"


@app.command()
def transfer(
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Trainings of each kind.")] = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each training.")] = 16,
    out: Out = RESULTS,
    json: output.Json = False,
) -> None:
    """Train audio embeddings on titles alone, then classify clips of unseen classes by the name of the class."""
    from model.data.homesound10 import Homesound10
    from research.sound_titles.evaluate_unseen_classes import score_unseen_classes, score_unseen_recordings
    from research.sound_titles.train_contrastive import TitleVectors, TransferRecipe

    data, titles = Homesound10(ROOT / "data" / "homesound10"), TitleVectors(VECTORS)
    recipe, numbers = TransferRecipe(epochs=epochs), range(1, seeds + 1)
    with progress(epochs) as report:
        results = {
            "unseen classes": score_unseen_classes(data, titles, recipe, numbers, report),
            "unseen recordings": score_unseen_recordings(data, titles, recipe, numbers, report),
        }
    rows = [
        [held, score.question, f"{100 * score.right:.1f}", f"{100 * score.chance:.1f}", str(score.count)]
        for held, scores in results.items()
        for score in scores
    ]
    text = (
        f"# Audio classes from their titles\n\nMade by `braid study transfer --seeds {seeds} --epochs {epochs}`.\n\n"
        "Audio of homesound10 is embedded near its Freesound title by InfoNCE, without labels. Titles and class names are\n"
        "assistvec vectors and hashed letters. Unseen classes: five folds of two classes, no clip of which was in the\n"
        "training. Unseen recordings: the official folds, whose classes were. In percent.\n\n"
        + output.table(["held out", "question", "right", "chance", "questions"], rows)
    )
    _publish(
        out / "transfer.md", text, {held: [asdict(score) for score in scores] for held, scores in results.items()}, json
    )


@app.command()
def privacy(
    epsilons: Annotated[str, typer.Option(help="Privacy budgets, separated by commas.")] = "8,2",
    seed: Annotated[int, typer.Option(help="The seed of draws and noise.")] = 1,
    out: Out = RESULTS,
    json: output.Json = False,
) -> None:
    """Train the same heads with and without differential privacy: the cost in accuracy, and what an attack reveals."""
    from model.data.tridigit import Tridigit
    from research.privacy.study import compare_epsilons

    try:
        budgets = [None, *(float(text) for text in epsilons.split(","))]
    except ValueError:
        raise output.UsageError(f"--epsilons takes numbers separated by commas, not {epsilons}.") from None
    with progress(100) as report:
        rows = compare_epsilons(Tridigit(ROOT / "data" / "tridigit"), VECTORS, budgets, seed, report)
    lines = [
        [
            "none" if row.spent is None else f"{row.spent.epsilon:.2f}",
            "" if row.spent is None else f"{row.spent.noise:.2f}",
            *(f"{100 * value:.1f}" for value in row.accuracy.values()),
            *(f"{value.auc:.3f} ({value.advantage:.3f})" for value in row.attacks.values()),
        ]
        for row in rows
    ]
    heads = ["epsilon", "noise", *(f"{name}, accuracy" for name in rows[0].accuracy)]
    heads += [f"{name}, attack AUC (advantage)" for name in rows[0].attacks]
    text = (
        f"# Cost of differential privacy\n\nMade by `braid study privacy --epsilons {epsilons} --seed {seed}`.\n\n"
        "Heads of tridigit on fixed encoders, trained with the same steps, without and with clipping and noise; accuracy in\n"
        "percent on the test rows with all modalities. The attack separates training from test rows by their loss; .5 is\n"
        f"chance. Delta {rows[-1].spent.delta if rows[-1].spent else 0:g}, over "
        f"{rows[0].attacks['clean'].members} training rows.\n\n" + output.table(heads, lines)
    )
    _publish(out / "privacy.md", text, [asdict(row) for row in rows], json)


@app.command()
def several(
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each of the four trainings.")] = 30,
    seed: Annotated[int, typer.Option(help="The seed of all trainings.")] = 7,
    out: Out = RESULTS,
    json: output.Json = False,
) -> None:
    """Compare digit, sound and intent heads over shared encoders with one model for each task."""
    from research.multitask.study import RECIPE, compare_shared_encoders, shipped_tasks

    recipe = replace(RECIPE, epochs=epochs, seed=seed)
    with progress(epochs) as report:
        comparison = compare_shared_encoders(shipped_tasks(ROOT / "data", test=(1,)), VECTORS, recipe, report)
    rows = [
        [row.task, row.severity, row.subset, f"{100 * row.together:.1f}", f"{100 * row.alone:.1f}", str(row.count)]
        for row in comparison.rows
    ]
    text = (
        f"# Several tasks with shared encoders\n\nMade by `braid study several --epochs {epochs} --seed {seed}`.\n\n"
        "Accuracy in percent on the test rows of tridigit, and on fold 1 of homesound10 (trained on 3 and 4, calibrated on\n"
        "2), by one model of all three tasks and by models of one task, with the same batches, steps and lexicon.\n"
        f"Parameters: {comparison.parameters_together} in the one, {comparison.parameters_alone} in the three together.\n\n"
        + output.table(["task", "severity", "modalities", "together", "alone", "samples"], rows)
    )
    _publish(out / "several.md", text, asdict(comparison), json)


def _publish(path: Path, text: str, value: Any, json: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    if json:
        output.print_json(value)
    else:
        print(text)


@contextmanager
def progress(total: int) -> Iterator[Report]:
    """Show the progress of trainings with `total` epochs each."""
    with output.progress() as update:

        def report(name: str, epoch: int, loss: float) -> None:
            update(name, epoch, total, {"loss": loss} if loss else {})

        yield report
