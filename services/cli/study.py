"""`braid study`: trainings that answer a question and write the answer as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import output
from services.runtime.settings import ROOT

if TYPE_CHECKING:
    from research.transfer.evaluate import Report

app = typer.Typer(help="Trainings that answer a question: what transfers, what privacy costs, what sharing costs.")
Out = Annotated[Path, typer.Option(help="The folder for the table.")]
RESULTS = ROOT / "docs" / "results"
VECTORS = ROOT / "data" / "assistvec" / "vectors.npz"


@app.command()
def transfer(
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Trainings of each kind.")] = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Of each training.")] = 16,
    out: Out = RESULTS,
    json: output.Json = False,
) -> None:
    """Teach sounds by their titles alone, then name sounds of classes that were never heard by the class's name."""
    from model.data.homesound10 import Homesound10
    from research.transfer.evaluate import score_unseen_classes, score_unseen_recordings
    from research.transfer.titles import TitleVectors
    from research.transfer.train import TransferRecipe

    data, titles = Homesound10(ROOT / "data" / "homesound10"), TitleVectors(VECTORS)
    recipe, numbers = TransferRecipe(epochs=epochs), range(1, seeds + 1)
    with progress(epochs) as report:
        found = {
            "unseen classes": score_unseen_classes(data, titles, recipe, numbers, report),
            "unseen recordings": score_unseen_recordings(data, titles, recipe, numbers, report),
        }
    rows = [
        [held, score.question, f"{100 * score.right:.1f}", f"{100 * score.chance:.1f}", str(score.count)]
        for held, scores in found.items()
        for score in scores
    ]
    text = (
        f"# Audio classes from their titles\n\nMade by `braid study transfer --seeds {seeds} --epochs {epochs}`.\n\n"
        "Audio of homesound10 is embedded near its Freesound title by InfoNCE, without labels. Titles and class names are\n"
        "assistvec vectors and hashed letters. Unseen classes: five folds of two classes, no clip of which was in the\n"
        "training. Unseen recordings: the official folds, whose classes were. In percent.\n\n"
        + table(["held out", "question", "right", "chance", "questions"], rows)
    )
    written(out / "transfer.md", text)
    if json:
        output.result({held: [asdict(score) for score in scores] for held, scores in found.items()})
    else:
        print(text)


@app.command()
def privacy(
    epsilons: Annotated[str, typer.Option(help="With commas between.")] = "8,2",
    seed: Annotated[int, typer.Option(help="Of draws and noise, given so that the table can be made again.")] = 1,
    out: Out = RESULTS,
    json: output.Json = False,
) -> None:
    """Train the same heads with and without differential privacy: what it costs, and what an attacker sees."""
    from model.data.tridigit import Tridigit
    from research.privacy.study import compare_epsilons

    wanted = [None, *(float(text) for text in epsilons.split(","))]
    with progress(100) as report:
        rows = compare_epsilons(Tridigit(ROOT / "data" / "tridigit"), VECTORS, wanted, seed, report)
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
        f"{rows[0].attacks['clean'].members} training rows.\n\n" + table(heads, lines)
    )
    written(out / "privacy.md", text)
    if json:
        output.result([asdict(row) for row in rows])
    else:
        print(text)


@app.command()
def several(
    epochs: Annotated[int, typer.Option(min=1, help="Of each of the four trainings.")] = 30,
    seed: Annotated[int, typer.Option(help="Of all of them.")] = 7,
    out: Out = RESULTS,
    json: output.Json = False,
) -> None:
    """Digit, sound and intent heads over shared encoders, against models of one task with the same batches and steps."""
    from research.multitask.shipped_tasks import RECIPE, shipped_tasks
    from research.multitask.study import compare_shared_encoders

    recipe = replace(RECIPE, epochs=epochs, seed=seed)
    with progress(epochs) as report:
        found = compare_shared_encoders(shipped_tasks(ROOT / "data", test=(1,)), VECTORS, recipe, report)
    rows = [
        [row.task, row.severity, row.subset, f"{100 * row.together:.1f}", f"{100 * row.alone:.1f}", str(row.count)]
        for row in found.rows
    ]
    text = (
        f"# Several tasks with shared encoders\n\nMade by `braid study several --epochs {epochs} --seed {seed}`.\n\n"
        "Accuracy in percent on the test rows of tridigit, and on fold 1 of homesound10 (trained on 3 and 4, calibrated on\n"
        "2), by one model of all three tasks and by models of one task, with the same batches, steps and lexicon.\n"
        f"Parameters: {found.parameters_together} in the one, {found.parameters_alone} in the three together.\n\n"
        + table(["task", "severity", "modalities", "together", "alone", "samples"], rows)
    )
    written(out / "several.md", text)
    if json:
        output.result(asdict(found))
    else:
        print(text)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows]) + "\n"


def written(path: Path, text: str) -> None:
    """Put a result where results are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@contextmanager
def progress(total: int) -> Iterator[Report]:
    """A bar for each training on a terminal, a line at its end elsewhere."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console) as shown:
        bars: dict[str, Any] = {}

        def report(what: str, number: int, loss: float) -> None:
            if what not in bars:
                bars[what] = shown.add_task(what, total=total)
            shown.update(bars[what], completed=number)
            if not console.is_terminal and number == total:
                console.print(f"{what}: loss {loss:.3f}" if loss else what, soft_wrap=True)

        yield report
