"""One labelled sample in decoded form, and what a set of them must offer to be trained on and scored."""

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
    """text str; video uint8 [height, width, 3]; audio float32 [n] in [-1, 1] at the model's rate; None is absent.

    others: the decoded values of further modalities by name; label: place in the set's labels; draw: the numbers that say which modalities miss at a rate, one a modality.
    """

    id: str
    label: int
    text: str | None = None
    video: NDArray[np.uint8] | None = None
    audio: NDArray[np.float32] | None = None
    draw: tuple[float, ...] = ()
    others: Mapping[str, Any] = field(default_factory=dict)

    def value(self, modality: str) -> Any:
        """What is there of a modality, None where it is absent."""
        return getattr(self, modality) if modality in BUILT_IN else self.others.get(modality)

    def with_values(self, **values: Any) -> Example:
        """The same with these values of modalities, None for what is absent."""
        others = {**self.others, **{m: value for m, value in values.items() if m not in BUILT_IN}}
        return replace(self, others=others, **{m: value for m, value in values.items() if m in BUILT_IN})

    def without(self, *modalities: str) -> Example:
        """The same with modalities taken away."""
        return self.with_values(**dict.fromkeys(modalities))


class Examples(Protocol):
    """A set of labelled samples with the laws by which it is corrupted."""

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    @property
    def modalities(self) -> tuple[str, ...]: ...

    @property
    def severities(self) -> tuple[Severity, ...]: ...

    def epoch(self, rng: Generator, ease: float = 0.0) -> Sequence[Example]:
        """The training samples once, in a fresh order and with fresh corruption; ease 1 draws mostly easy ones."""
        ...

    def drawn(self, severity: Severity, rng: Generator) -> Sequence[Example]:
        """The validation samples with fresh corruption of a severity and without augmentation."""
        ...

    def samples(self, part: str, severity: Severity) -> Sequence[Example]:
        """The samples of `val` or `test` exactly as the manifest states this severity."""
        ...
