"""tridigit: ten digits as sentence, hand photo and speech, in three severities; labels from the manifest alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from model.data import augment
from model.data.example import Example
from model.data.degradations import (
    SEVERITIES,
    Severity,
    degraded_picture,
    degraded_sound,
    fresh_picture,
    fresh_sound,
    fresh_text,
    place,
)
from model.data.splits import read_sound, rows
from model.data.shards import find_file
from model.decode import decode_image
from model.decode import Undecodable

DIGITS = tuple("0123456789")
# How training draws severities: the harder the more often, for there is more to learn.
CHANCES = np.array((0.15, 0.35, 0.5))
# At the very beginning: speech in noise alone teaches an untrained ear nothing (loss at chance for ten epochs).
EASY = np.array((0.6, 0.35, 0.05))
SCALE = np.float32(1 / 32768)
# How often a sentence is borrowed from another digit: there are a hundred of each, and they are learned by heart.
BORROWED = 0.4
# How often a sentence stays whole beside a degraded picture and sound: most of what words say is in whole ones, and few
# are drawn.
UNHARMED = 0.25


@dataclass(frozen=True, slots=True)
class Item:
    """A row of the manifest with what its files hold: speech float32 [n], int16 scale; hand uint8 [64, 64, 3]."""

    row: Mapping[str, Any]
    digit: int
    text: str
    speech: NDArray[np.float32]
    hand: NDArray[np.uint8]


class Tridigit:
    """The set in a folder; a share of the training rows may be left out (learning curves, quick tests)."""

    name = "tridigit"
    labels = DIGITS
    modalities = ("text", "video", "audio")
    severities = SEVERITIES

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        found: dict[str, list[Item]] = {"train": [], "val": [], "test": []}
        for row in rows(folder / "manifest.jsonl"):
            part = found[row["split"]]
            if limit is None or len(part) < limit:
                hand = decode_image(find_file(folder / row["hand"]).read_bytes())
                if isinstance(hand, Undecodable):
                    raise ValueError(f"{folder / row['hand']}: {hand.detail}")
                part.append(Item(row, row["digit"], row["text"], read_sound(folder / row["speech"]), hand))
        self._items = found
        self._noises = {
            r["noise"]: read_sound(folder / "noise8k" / f"{r['noise']}.flac")
            for r in rows(folder / "noise8k" / "noise.jsonl")
        }
        self._conflicts = list(rows(folder / "conflict.jsonl"))

    def epoch(self, rng: Generator, ease: float = 0.0) -> list[Example]:
        """Each training sentence, photo and recording once, paired afresh inside its digit, corrupted afresh."""
        noises = list(self._noises.values())
        chances = ease * EASY + (1 - ease) * CHANCES
        out = []
        train = self._items["train"]
        for digit in range(len(DIGITS)):
            items = [item for item in train if item.digit == digit]
            hands, speeches = rng.permutation(len(items)), rng.permutation(len(items))
            for item, hand, spoken in zip(items, hands, speeches, strict=True):
                severity: Severity = SEVERITIES[rng.choice(len(SEVERITIES), p=chances)]
                speech = augment.paced(items[spoken].speech, rng)
                donor = item if rng.random() >= BORROWED else train[int(rng.integers(len(train)))]
                text = augment.renumbered(donor.text, donor.digit, digit, rng)
                read: Severity = "clean" if rng.random() < UNHARMED else severity
                out.append(
                    Example(
                        item.row["id"],
                        digit,
                        fresh_text(text, digit, read, rng),
                        fresh_picture(augment.moved(items[hand].hand, rng), severity, rng),
                        fresh_sound(speech, augment.rolled(noises, rng), severity, rng) * SCALE,
                    )
                )
        return [out[i] for i in rng.permutation(len(out))]

    def drawn(self, severity: Severity, rng: Generator) -> list[Example]:
        """The validation rows with fresh corruption of the severity's law."""
        noises = list(self._noises.values())
        return [
            Example(
                item.row["id"],
                item.digit,
                fresh_text(item.text, item.digit, severity, rng),
                fresh_picture(item.hand, severity, rng),
                fresh_sound(item.speech, noises, severity, rng) * SCALE,
            )
            for item in self._items["val"]
        ]

    def given(self, part: str, severity: Severity) -> list[Example]:
        """The rows of a part as the manifest degrades them."""
        return [self._example(item, item, item, severity) for item in self._items[part]]

    def conflicts(self, severity: Severity) -> list[tuple[Example, bool, str | None]]:
        """The conflict rows, whether each is consistent, and else its odd modality; every part degraded as its row."""
        by_id = {item.row["id"]: item for item in self._items["test"]}
        names = {"text": "text", "image": "video", "speech": "audio", None: None}
        return [
            (
                self._example(by_id[r["text_from"]], by_id[r["image_from"]], by_id[r["speech_from"]], severity),
                bool(r["consistent"]),
                names[r.get("odd")],
            )
            for r in self._conflicts
            if {r["text_from"], r["image_from"], r["speech_from"]} <= by_id.keys()
        ]

    def sentences(self) -> Sequence[str]:
        """The training sentences, for the choice of words."""
        return [item.text for item in self._items["train"]]

    def _example(self, text: Item, hand: Item, speech: Item, severity: Severity) -> Example:
        if severity == "clean":
            said, seen, heard = text.text, hand.hand, place(speech.speech)
        else:
            said = text.row[severity]["text"]
            seen = degraded_picture(hand.row[severity], hand.hand)
            heard = degraded_sound(speech.row[severity], speech.speech, self._noises)
        draw = tuple(text.row["miss_u"])
        return Example(text.row["id"], text.digit, said, seen, heard * SCALE, draw)
