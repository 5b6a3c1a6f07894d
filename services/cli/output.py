"""Output of the command line: JSON, tables and progress bars, and the error of wrong arguments."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from services.contract.user_errors import EXIT_USAGE, BraidError

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else on stdout.")]
# Called with the name of a task, steps done, steps in all, and figures to show beside the bar.
Update = Callable[[str, int, int, Mapping[str, float]], None]


class UsageError(BraidError):
    """Arguments that cannot be used."""

    exit_code = EXIT_USAGE


def print_json(value: Any) -> None:
    """Print the JSON result of a verb."""
    print(json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False))


def note(text: str) -> None:
    """Print a remark on stderr, so that stdout holds the result only."""
    print(f"braid: {text}", file=sys.stderr, flush=True)


def note_unverified(place: str) -> None:
    """Remark that what a verb reads is not verified, because there is no signing secret of it here."""
    note(f"The records of {place} are not verified: there is no signing secret for them here (kafka.signing_file).")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns, readable in a terminal as well."""
    widths = [max(len(cell) for cell in cells) for cells in zip(columns, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |\n"

    return line(columns) + line(["-" * width for width in widths]) + "".join(map(line, rows))


@contextmanager
def progress() -> Iterator[Update]:
    """Show a bar for each task on stderr; where stderr is not a terminal, a line for every tenth of a task."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    figures = TextColumn("{task.fields[figures]}")
    with Progress(
        TextColumn("{task.description}"), BarColumn(), figures, TimeRemainingColumn(), console=console
    ) as bars:
        ids: dict[str, Any] = {}
        tenths: dict[str, int] = {}

        def update(name: str, done: int, total: int, values: Mapping[str, float]) -> None:
            text = " ".join(f"{key} {value:.2f}" for key, value in values.items())
            if name not in ids:
                ids[name] = bars.add_task(name, total=total, figures="")
            bars.update(ids[name], completed=done, figures=text)
            tenth = 10 * done // max(total, 1)
            if not console.is_terminal and tenth > tenths.get(name, 0):
                tenths[name] = tenth
                console.print(f"{name} {done} of {total}: {text}", soft_wrap=True)

        yield update
