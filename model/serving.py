"""What serves: the interface of a loaded model to whoever asks it, and all that they may know of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.predictor import Feature, WindowFeatures


class Serving(Protocol):
    """A model of some device. All results are functions of the inputs, the digest and the device's kind."""

    name: str
    version: str
    digest: str
    labels: tuple[str, ...]
    modalities: tuple[str, ...]
    batch_windows: int
    segments_per_window: int
    threads: int
    decision: Mapping[str, float]
    conflict_from: float
    conformal: float

    @property
    def device(self) -> object:
        """Where it runs; its text is the device's name."""

    @property
    def costliest(self) -> str:
        """The modality whose items take most arithmetic: the one that an overloaded worker leaves out."""

    def prepare(self, modality: str, value: Any) -> NDArray[Any]:
        """A decoded value as its encoder's input."""

    def encode_all(self, inputs: Mapping[str, Sequence[NDArray[Any]]]) -> dict[str, list[Feature]]:
        """Features of prepared items by modality, each from itself alone, whatever else is encoded with it."""

    def fuse(self, windows: Sequence[WindowFeatures]) -> list[NDArray[np.float64]]:
        """Log probabilities float64 [2^modalities, labels] of each window: row i uses the modalities of the bits of i."""
