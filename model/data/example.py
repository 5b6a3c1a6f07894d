"""A labelled sample in decoded form, and the interface of a set of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from model.data.degradations import Severity

BUILT_IN = ("text", "video", "audio")


@dataclass(frozen=True, slots=True)
class Example:
    """A sample: text str; video uint8 [height, width, 3]; audio float32 [n] in [-1, 1] at the model's rate; None if absent.

    Attributes:
        label: Index in the set's labels.
        draw: One number per modality that decides at which missing rate it is missing.
        others: Decoded values of further modalities by name.
    """

    id: str
    label: int
    text: str | None = None
    video: NDArray[np.uint8] | None = None
    audio: NDArray[np.float32] | None = None
    draw: tuple[float, ...] = ()
    others: Mapping[str, Any] = field(default_factory=dict)

    def value(self, modality: str) -> Any:
        """Return the value of a modality, None if it is absent."""
        return getattr(self, modality) if modality in BUILT_IN else self.others.get(modality)

    def with_values(self, **values: Any) -> Example:
        """Return the example with other values of some modalities, None to remove one."""
        others = {**self.others, **{m: value for m, value in values.items() if m not in BUILT_IN}}
        return replace(self, others=others, **{m: value for m, value in values.items() if m in BUILT_IN})

    def without(self, *modalities: str) -> Example:
        """Return the example without some modalities."""
        return self.with_values(**dict.fromkeys(modalities))


class Examples(Protocol):
    """A set of labelled samples with the distribution of their corruption."""

    @property
    def name(self) -> str:
        """Name of the set."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels in the order of their indices."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Modalities that the samples may have."""

    @property
    def severities(self) -> tuple[Severity, ...]:
        """Severities of corruption."""

    def epoch(self, rng: Generator, ease: float = 0.0) -> Sequence[Example]:
        """Draw the training samples once, in random order with random corruption; ease 1 prefers easy ones."""

    def drawn(self, severity: Severity, rng: Generator) -> Sequence[Example]:
        """Draw the validation samples with random corruption of a severity and without augmentation."""

    def samples(self, part: str, severity: Severity) -> Sequence[Example]:
        """Return the samples of a split as the manifest states this severity."""
