"""The set homesound10: ten home sounds with the titles that their recorders gave them; labels come from the manifest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from model.data import augment
from model.data.example import Example
from model.data.degradations import Severity
from model.data.splits import read_sound, read_jsonl
from model.decode import RATE
from model.labels import SOUNDS

# The official groups; clips of one recording are in the same group.
GROUPS: tuple[tuple[int, ...], ...] = ((1,), (2,), (3, 4))
SECONDS_MAX = 4
SCALE = np.float32(1 / 32768)


@dataclass(frozen=True, slots=True)
class SoundClip:
    """A clip: sound float32 [n] in [-1, 1] at RATE, its title, its fold and its missing draw (text, audio)."""

    id: str
    label: int
    fold: int
    title: str
    sound: NDArray[np.float32]
    draw: tuple[float, ...]


class Homesound10:
    """The set in a folder; clips of the folds in `held_out` are the test split, the others train."""

    name = "homesound10"
    labels = SOUNDS
    modalities = ("text", "audio")
    severities: tuple[Severity, ...] = ("clean",)

    def __init__(self, folder: Path, held_out: Collection[int] = (), repeats: int = 4) -> None:
        self._items = [
            SoundClip(
                r["id"],
                SOUNDS.index(r["name"]),
                r["fold"],
                r["text"],
                read_sound(folder / r["audio"]) * SCALE,
                tuple(r["miss_u"]),
            )
            for r in read_jsonl(folder / "manifest.jsonl")
        ]
        self._held, self._repeats = frozenset(held_out), repeats

    def hold_out(self, folds: Collection[int]) -> Homesound10:
        """Return the set with other folds held out, without reading it again."""
        other = Homesound10.__new__(Homesound10)
        other._items, other._held, other._repeats = self._items, frozenset(folds), self._repeats
        return other

    def epoch(self, rng: Generator, ease: float = 0.0) -> list[Example]:
        """Draw each training clip a few times; titles and sounds are paired at random within their label."""
        training = [item for item in self._items if item.fold not in self._held]
        by_label = {n: [item for item in training if item.label == n] for n in range(len(SOUNDS))}
        examples = []
        for item in training * self._repeats:
            same = by_label[item.label]
            donor = same[int(rng.integers(len(same)))]
            bed = training[int(rng.integers(len(training)))]
            sound = augment.change_distance(augment.change_pace(donor.sound, rng), bed.sound, SECONDS_MAX * RATE, rng)
            examples.append(Example(item.id, item.label, augment.drop_title_words(item.title, rng), None, sound))
        return [examples[i] for i in rng.permutation(len(examples))]

    def drawn(self, severity: Severity, rng: Generator) -> list[Example]:
        """Return no samples: the set has no validation split."""
        return []

    def samples(self, part: str, severity: Severity) -> list[Example]:
        """Return the held-out clips, or the others for `train`."""
        return [
            Example(item.id, item.label, item.title, None, item.sound, item.draw)
            for item in self._items
            if (item.fold in self._held) != (part == "train")
        ]

    def sentences(self) -> list[str]:
        """Return the training titles, to choose words from."""
        return [item.title for item in self._items if item.fold not in self._held]
