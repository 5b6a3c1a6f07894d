"""Windows made ready for the model: what of each can be used, and the encoders' inputs. Pure.

What the device made of a batch.

What the model made of one window, on its way to the topics.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.audio_grid import GridSlot
from model.modality import MODALITIES
from model.predictor import Feature, WindowFeatures
from services.contract.dead_letter import Rejected
from services.contract.prediction import Answer
from services.contract.window import Member, Window

# The one modality that is cut anew before it is encoded.
AUDIO = "audio"


@dataclass(slots=True)
class WindowInputs:
    """What of one window can be used, and what cannot with the reason.

    items: cache keys of encoder inputs by modality, in order of time; segments: of sound, by place on the window's grid;
    skipped: modalities left out under overload; level: of what is left out; error: why the window cannot be answered.
    """

    items: dict[str, list[Hashable]]
    segments: dict[int, str]
    unusable: dict[str, list[tuple[Member, Rejected]]]
    skipped: frozenset[str] = frozenset()
    level: int = 0
    error: str | None = None

    @property
    def present(self) -> frozenset[str]:
        return frozenset([*(m for m, keys in self.items.items() if keys), *([AUDIO] if self.segments else [])])

    def keys(self, modality: str) -> Sequence[Hashable]:
        return list(self.segments.values()) if MODALITIES[modality].on_grid else self.items.get(modality, [])

    def features(self, of: Mapping[tuple[str, Hashable], Feature]) -> WindowFeatures:
        """What the model is given."""
        items: dict[str, Sequence[Feature] | Mapping[int, Feature]] = {
            m: [of[m, key] for key in keys] for m, keys in self.items.items()
        }
        return WindowFeatures(items | {AUDIO: {place: of[AUDIO, key] for place, key in self.segments.items()}})


@dataclass(frozen=True, slots=True)
class ModelInputs:
    """Windows made ready for the model: what of each is used, and the inputs of all by modality and cache key.

    inputs: of sound, samples of a segment, or the slot to take them from.
    """

    windows: Sequence[Window]
    per_window: Sequence[WindowInputs]
    inputs: Mapping[tuple[str, Hashable], NDArray[Any] | GridSlot]
    took_ms: float

    def part(self, begin: int, end: int) -> ModelInputs:
        """The same of some of the windows."""
        return ModelInputs(self.windows[begin:end], self.per_window[begin:end], self.inputs, self.took_ms)


@dataclass(frozen=True, slots=True)
class ModelOutputs:
    """Log probabilities float64 [2^senses, labels] of each window's subsets, from when to when they took (us).

    encode_us: how much of that was encoding; the rest was fusing.
    """

    rows: Sequence[NDArray[np.float64]]
    began_us: int
    ended_us: int
    encode_us: int

    @property
    def fuse_us(self) -> int:
        return self.ended_us - self.began_us - self.encode_us


@dataclass(frozen=True, slots=True)
class WindowPrediction:
    """One window's prediction record, the log probabilities of all subsets, and the members that cannot be used.

    rows float64 [2^senses, labels]: bit i of a row's index is the i-th of `senses`; both empty where nothing was inferred.
    level: of overload, by what was left out.
    """

    id: str
    window: Window
    record: bytes
    answer: Answer
    rows: NDArray[np.float64]
    unusable: Sequence[tuple[str, Member, Rejected]]
    modalities: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    level: int = 0
    contributions: Mapping[str, float] = field(default_factory=dict)
