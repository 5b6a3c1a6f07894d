"""`braid study`: trainings that answer a question and write the answer as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import say
from services.runtime.settings import ROOT

if TYPE_CHECKING:
    from model.transfer.cross import Report

app = typer.Typer(help="Trainings that answer a question: what transfers, what privacy costs, what sharing costs.")
Out = Annotated[Path, typer.Option(help="The folder for the table.")]
RESULTS = ROOT / "docs" / "results"
VECTORS = ROOT / "data" / "assistvec" / "vectors.npz"


@app.command()
def transfer(
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Trainings of each kind.")] = 1,
    epochs: Annotated[int, typer.Option(min=1, help="Of each training.")] = 12,
    out: Out = RESULTS,
    json: say.Json = False,
) -> None:
    """Teach sounds by their titles alone, then name sounds of classes that were never heard by the class's name."""
    from dataclasses import asdict

    from model.data.homesound10 import Homesound10
    from model.transfer.cross import unseen_classes, unseen_recordings
    from model.transfer.titles import TitleVectors
    from model.transfer.train import TransferRecipe

    data, titles = Homesound10(ROOT / "data" / "homesound10"), TitleVectors(VECTORS)
    recipe, numbers = TransferRecipe(epochs=epochs), range(1, seeds + 1)
    with progress(epochs) as report:
        found = {
            "classes never heard": unseen_classes(data, titles, recipe, numbers, report),
            "recordings never heard": unseen_recordings(data, titles, recipe, numbers, report),
        }
    rows = [
        [held, score.what, f"{100 * score.right:.1f}", f"{100 * score.chance:.1f}", str(score.count)]
        for held, scores in found.items()
        for score in scores
    ]
    text = (
        f"# Sounds taught by their titles\n\nMade by `braid study transfer --seeds {seeds} --epochs {epochs}`.\n\n"
        "Sounds of homesound10 are put where their Freesound titles lie, by InfoNCE; no label teaches anything. Titles\n"
        "and class names are assistvec vectors beside hashed letters. Classes never heard: five folds of two classes, no\n"
        "clip of which was in the training. Recordings never heard: the official folds, whose classes were. In percent.\n\n"
        + table(["held out", "question", "right", "chance", "questions"], rows)
    )
    written(out / "transfer.md", text)
    if json:
        say.result({held: [asdict(score) for score in scores] for held, scores in found.items()})
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
                console.print(f"{what}: loss {loss:.3f}", soft_wrap=True)

        yield report
