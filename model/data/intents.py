"""The set of intents in the sentences of tridigit (book a restaurant, rate a book, …), from the manifest's field `intent`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.random import Generator

from model.data.example import Example
from model.data.degradations import SEVERITIES, Severity, draw_text
from model.data.splits import read_jsonl

INTENTS = ("BookRestaurant", "GetWeather", "RateBook", "SearchScreeningEvent")


class Intents:
    """The sentences with the splits and severities of tridigit; images and audio carry no intent."""

    name = "intent"
    labels = INTENTS
    modalities = ("text",)
    severities = SEVERITIES

    def __init__(self, folder: Path) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
        for row in read_jsonl(folder / "manifest.jsonl"):
            self._rows[row["split"]].append(row)

    def epoch(self, rng: Generator, ease: float = 0.0) -> list[Example]:
        """Draw each training sentence once, in random order, severity and corruption."""
        order = rng.permutation(len(self._rows["train"]))
        return [_drawn(self._rows["train"][i], SEVERITIES[int(rng.integers(len(SEVERITIES)))], rng) for i in order]

    def drawn(self, severity: Severity, rng: Generator) -> list[Example]:
        """Draw the validation sentences with random corruption."""
        return [_drawn(row, severity, rng) for row in self._rows["val"]]

    def samples(self, part: str, severity: Severity) -> list[Example]:
        """Return the sentences of a split as the manifest degrades them."""
        return [_example(row, row["text"] if severity == "clean" else row[severity]["text"]) for row in self._rows[part]]

    def sentences(self) -> list[str]:
        """Return the training sentences, to choose words from."""
        return [row["text"] for row in self._rows["train"]]


def _drawn(row: dict[str, Any], severity: Severity, rng: Generator) -> Example:
    return _example(row, draw_text(row["text"], row["digit"], severity, rng))


def _example(row: dict[str, Any], text: str) -> Example:
    return Example(row["id"], INTENTS.index(row["intent"]), text, draw=(row["miss_u"][0],))
