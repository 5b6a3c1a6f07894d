"""The set tridigit: ten digits as sentence, hand photo and speech, in three severities; labels come from the manifest."""

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
    degrade_image,
    degrade_audio,
    draw_image,
    draw_audio,
    draw_text,
    place_on_canvas,
)
from model.data.splits import read_sound, read_jsonl
from model.data.shards import find_file
from model.decode import decode_image
from model.decode import Undecodable

DIGITS = tuple("0123456789")
# Severities in training: harder ones are drawn more often, because they have more to learn.
SEVERITY_CHANCES = np.array((0.15, 0.35, 0.5))
# At the beginning of training: noisy speech alone teaches an untrained network nothing for ten epochs.
EASY_SEVERITY_CHANCES = np.array((0.6, 0.35, 0.05))
SCALE = np.float32(1 / 32768)
# Chance of a sentence of another digit, with the digit replaced: with only a hundred each, they are learned by heart.
BORROWED_TEXT_CHANCE = 0.4
# Chance of a clean sentence with degraded image and audio: clean sentences teach the most and are drawn rarely.
CLEAN_TEXT_CHANCE = 0.25


@dataclass(frozen=True, slots=True)
class TridigitItem:
    """A manifest row with its decoded files: speech float32 [n], int16 scale; hand uint8 [64, 64, 3]."""

    row: Mapping[str, Any]
    digit: int
    text: str
    speech: NDArray[np.float32]
    hand: NDArray[np.uint8]


class Tridigit:
    """The set in a folder; `limit` is the number of rows to read per split, for learning curves and quick tests."""

    name = "tridigit"
    labels = DIGITS
    modalities = ("text", "video", "audio")
    severities = SEVERITIES

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        items: dict[str, list[TridigitItem]] = {"train": [], "val": [], "test": []}
        for row in read_jsonl(folder / "manifest.jsonl"):
            part = items[row["split"]]
            if limit is None or len(part) < limit:
                hand = decode_image(find_file(folder / row["hand"]).read_bytes())
                if isinstance(hand, Undecodable):
                    raise ValueError(f"{folder / row['hand']}: {hand.detail}")
                part.append(TridigitItem(row, row["digit"], row["text"], read_sound(folder / row["speech"]), hand))
        self._items = items
        self._noises = {
            r["noise"]: read_sound(folder / "noise8k" / f"{r['noise']}.flac")
            for r in read_jsonl(folder / "noise8k" / "noise.jsonl")
        }
        self._conflicts = list(read_jsonl(folder / "conflict.jsonl"))

    def epoch(self, rng: Generator, ease: float = 0.0) -> list[Example]:
        """Draw each training sentence, photo and recording once, paired at random within its digit, with random corruption."""
        noises = list(self._noises.values())
        chances = ease * EASY_SEVERITY_CHANCES + (1 - ease) * SEVERITY_CHANCES
        examples = []
        train = self._items["train"]
        for digit in range(len(DIGITS)):
            items = [item for item in train if item.digit == digit]
            hands, speeches = rng.permutation(len(items)), rng.permutation(len(items))
            for item, hand, recording in zip(items, hands, speeches, strict=True):
                severity: Severity = SEVERITIES[rng.choice(len(SEVERITIES), p=chances)]
                speech = augment.change_pace(items[recording].speech, rng)
                donor = item if rng.random() >= BORROWED_TEXT_CHANCE else train[int(rng.integers(len(train)))]
                text = augment.replace_digit(donor.text, donor.digit, digit, rng)
                text_severity: Severity = "clean" if rng.random() < CLEAN_TEXT_CHANCE else severity
                examples.append(
                    Example(
                        item.row["id"],
                        digit,
                        draw_text(text, digit, text_severity, rng),
                        draw_image(augment.transform_image(items[hand].hand, rng), severity, rng),
                        draw_audio(speech, augment.vary_noises(noises, rng), severity, rng) * SCALE,
                    )
                )
        return [examples[i] for i in rng.permutation(len(examples))]

    def drawn(self, severity: Severity, rng: Generator) -> list[Example]:
        """Draw the validation rows with random corruption of a severity."""
        noises = list(self._noises.values())
        return [
            Example(
                item.row["id"],
                item.digit,
                draw_text(item.text, item.digit, severity, rng),
                draw_image(item.hand, severity, rng),
                draw_audio(item.speech, noises, severity, rng) * SCALE,
            )
            for item in self._items["val"]
        ]

    def samples(self, part: str, severity: Severity) -> list[Example]:
        """Return the rows of a split as the manifest degrades them."""
        return [self._example(item, item, item, severity) for item in self._items[part]]

    def conflicts(self, severity: Severity) -> list[tuple[Example, bool, str | None]]:
        """Return the conflict rows: the example, whether it is consistent, and else its odd modality."""
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
        """Return the training sentences, to choose words from."""
        return [item.text for item in self._items["train"]]

    def _example(self, text: TridigitItem, hand: TridigitItem, speech: TridigitItem, severity: Severity) -> Example:
        if severity == "clean":
            sentence, pixels, samples = text.text, hand.hand, place_on_canvas(speech.speech)
        else:
            sentence = text.row[severity]["text"]
            pixels = degrade_image(hand.row[severity], hand.hand)
            samples = degrade_audio(speech.row[severity], speech.speech, self._noises)
        draw = tuple(text.row["miss_u"])
        return Example(text.row["id"], text.digit, sentence, pixels, samples * SCALE, draw)
