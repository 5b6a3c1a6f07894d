"""The set homesound10 with a validation split, which joint calibration needs."""

from __future__ import annotations

from collections.abc import Collection

from numpy.random import Generator

from model.data.degradations import Severity
from model.data.example import Example
from model.data.homesound10 import Homesound10
from model.labels import SOUNDS


class SoundFolds:
    """Folds to validate on and folds to test on; the others train. Clips of one recording are in the same fold."""

    name = "homesound10"
    labels = SOUNDS
    modalities = ("text", "audio")
    severities: tuple[Severity, ...] = ("clean",)

    def __init__(self, data: Homesound10, validate: Collection[int], test: Collection[int]) -> None:
        if set(validate) & set(test):
            raise ValueError("a fold either validates or tests")
        self._train = data.hold_out({*validate, *test})
        self._parts = {"val": data.hold_out(validate), "test": data.hold_out(test)}

    def epoch(self, rng: Generator, ease: float = 0.0) -> list[Example]:
        """Draw the training clips as homesound10 does."""
        return self._train.epoch(rng, ease)

    def drawn(self, severity: Severity, rng: Generator) -> list[Example]:
        """Return the validation clips as they are: their corruption is unknown."""
        return self.samples("val", severity)

    def samples(self, part: str, severity: Severity) -> list[Example]:
        """Return the clips of a split."""
        if part == "train":
            return self._train.samples("train", severity)
        return self._parts[part].samples("test", severity)

    def sentences(self) -> list[str]:
        """Return the training titles."""
        return self._train.sentences()
