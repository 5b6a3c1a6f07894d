"""The values that pass from stage to stage of the prediction pipeline: model inputs, model outputs, predictions. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.audio_segments import GridSlot
from model.modality import MODALITIES
from model.predictor import Feature, WindowFeatures
from services.contract.dead_letter import Rejected
from services.contract.prediction import PredictionResult
from services.contract.window import Member, Window

# The one modality that is cut into segments before it is encoded.
AUDIO = "audio"
TEXT = "text"
# What a model may raise on a window; an error of the system ends the process.
FAILURES = (
    RuntimeError,
    ValueError,
    MemoryError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
)


@dataclass(slots=True)
class WindowInputs:
    """The encoder inputs of one window, and the members that cannot be used.

    Attributes:
        items: Cache keys of encoder inputs by modality, in order of time.
        segments: Cache keys of audio segments by place on the window's grid.
        unusable: By modality, the members that cannot be used, with the reason.
        silent: Modalities with a text that says nothing.
        skipped: Modalities left out under overload.
        level: The level of overload, by what is left out.
        error: Why the window cannot be predicted.
        took_us: How long decoding took.
    """

    items: dict[str, list[Hashable]]
    segments: dict[int, str]
    unusable: dict[str, list[tuple[Member, Rejected]]]
    skipped: frozenset[str] = frozenset()
    level: int = 0
    error: str | None = None
    silent: set[str] = field(default_factory=set)
    took_us: int = 0

    @property
    def present(self) -> frozenset[str]:
        """The modalities with at least one encoder input."""
        return frozenset([*(m for m, keys in self.items.items() if keys), *([AUDIO] if self.segments else [])])

    def keys(self, modality: str) -> Sequence[Hashable]:
        """Return the cache keys of a modality's encoder inputs."""
        return list(self.segments.values()) if MODALITIES[modality].on_grid else self.items.get(modality, [])

    def features(self, of: Mapping[tuple[str, Hashable], Feature]) -> WindowFeatures:
        """Look up the features of this window, as the model takes them."""
        items: dict[str, Sequence[Feature] | Mapping[int, Feature]] = {
            m: [of[m, key] for key in keys] for m, keys in self.items.items()
        }
        return WindowFeatures(items | {AUDIO: {place: of[AUDIO, key] for place, key in self.segments.items()}})


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """Decoded windows: the inputs of each, and the values of all inputs by modality and cache key.

    values: of audio the samples of a segment, or the slot to cut them from.
    """

    windows: Sequence[Window]
    per_window: Sequence[WindowInputs]
    values: Mapping[tuple[str, Hashable], NDArray[Any] | GridSlot]
    took_ms: float

    def part(self, begin: int, end: int) -> ModelInputs:
        """Return the inputs of some of the windows."""
        return ModelInputs(self.windows[begin:end], self.per_window[begin:end], self.values, self.took_ms)


@dataclass(frozen=True, slots=True)
class ModelOutputs:
    """What the model made of a batch, on the monotonic clock (us).

    rows: of each window the log probabilities float64 [2^modalities, labels] of all subsets of modalities; encode_us:
    how much of the time was encoding, the rest was fusing.
    """

    rows: Sequence[NDArray[np.float64]]
    began_us: int
    ended_us: int
    encode_us: int

    @property
    def fuse_us(self) -> int:
        """How much of the time was fusing."""
        return self.ended_us - self.began_us - self.encode_us


@dataclass(frozen=True, slots=True)
class WindowPrediction:
    """One window's prediction.

    Attributes:
        id: The prediction's id.
        window: The window, with its mutes.
        record: The bytes of the prediction record.
        result: What the record says.
        rows: Log probabilities float64 [2^modalities, labels] of all subsets; bit i of a row's index stands for the
            i-th of `modalities`. Empty, like `modalities`, if the model failed.
        unusable: The members that cannot be used, with modality and reason.
        modalities: The modalities of the model.
        labels: The labels of the model.
        level: The level of overload, by what was left out.
        contributions: Log probability that each modality contributed.
    """

    id: str
    window: Window
    record: bytes
    result: PredictionResult
    rows: NDArray[np.float64]
    unusable: Sequence[tuple[str, Member, Rejected]]
    modalities: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    level: int = 0
    contributions: Mapping[str, float] = field(default_factory=dict)
