"""A labelled sample in decoded form, the interface of a set of samples, and batches of scenes as tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from model.data.degradations import Severity
from collections.abc import Sequence
from dataclasses import dataclass
import torch
from torch import Tensor
from model.data.scene import SEGMENTS, WINDOW_SEGMENTS, WINDOWS, Scene
from model.encoders.audio import SEGMENT_SAMPLES, LogMel
from model.encoders.image import prepare_image
from model.encoders.text import Vocabulary
from model.streams.network import ITEMS_MAX, MODALITIES

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


@dataclass(frozen=True, slots=True)
class Batch:
    """Items, and rows into them per window; row 0 of every kind of item is padding.

    spectra float32 [segments, MELS, frames]; pictures float32 [frames, 3, 64, 64]; words int64 [texts, WORDS_MAX]; rows int64
    [windows, places] by modality; labels int64 [windows]; own int64 [windows] by modality: the label that this modality
    alone shows.
    """

    spectra: Tensor
    pictures: Tensor
    words: Tensor
    rows: dict[str, Tensor]
    labels: Tensor
    own: dict[str, Tensor]


def collate(scenes: Sequence[Scene], vocabulary: Vocabulary, labels: Sequence[str], log_mel: LogMel) -> Batch:
    """Collate scenes."""
    samples = np.stack([s.sound for s in scenes]).reshape(-1, SEGMENT_SAMPLES) / 32768
    with torch.no_grad():
        spectra = log_mel(torch.from_numpy(samples.astype(np.float32)))
    frames = [(n, time_s, picture) for n, s in enumerate(scenes) for time_s, picture in s.frames]
    texts = [(n, at, text) for n, s in enumerate(scenes) for at, text in s.texts]
    pictures = np.stack([np.zeros((3, 64, 64), np.float32), *(prepare_image(picture) for _, _, picture in frames)])
    words = np.stack([vocabulary.prepare(""), *(vocabulary.prepare(text) for _, _, text in texts)])
    audio = np.zeros((len(scenes) * WINDOWS, WINDOW_SEGMENTS), np.int64)
    indices = {m: np.zeros(len(scenes) * WINDOWS, np.int64) for m in (None, *MODALITIES)}
    for n, scene in enumerate(scenes):
        for window in range(WINDOWS):
            row = n * WINDOWS + window
            for modality, values in indices.items():
                values[row] = labels.index(scene.label(window, modality))
            for place in range(WINDOW_SEGMENTS):
                if scene.received[window + place]:
                    audio[row, place] = 1 + n * SEGMENTS + window + place
    rows = {
        "audio": torch.from_numpy(audio),
        "video": torch.from_numpy(_places([(n, at) for n, at, _ in frames], len(scenes), ITEMS_MAX["video"])),
        "text": torch.from_numpy(_places([(n, at) for n, at, _ in texts], len(scenes), ITEMS_MAX["text"])),
    }
    labels_by_modality = {m: torch.from_numpy(values) for m, values in indices.items()}
    own = {m: labels_by_modality[m] for m in MODALITIES}
    return Batch(spectra, torch.from_numpy(pictures), torch.from_numpy(words), rows, labels_by_modality[None], own)


def _places(items: Sequence[tuple[int, float]], scene_count: int, places: int) -> np.ndarray:
    """Return the rows (from 1) of the items in each window, int64 [windows, places], the newest if there are too many."""
    items_by_window: list[list[tuple[float, int]]] = [[] for _ in range(scene_count * WINDOWS)]
    for row, (scene, time_s) in enumerate(items, 1):
        first, last = int(np.floor(time_s * 2)) - WINDOW_SEGMENTS + 1, int(np.floor(time_s * 2))
        for window in range(max(first, 0), min(last, WINDOWS - 1) + 1):
            items_by_window[scene * WINDOWS + window].append((time_s, row))
    rows = np.zeros((scene_count * WINDOWS, places), np.int64)
    for window, window_items in enumerate(items_by_window):
        newest = [row for _, row in sorted(window_items)][-places:]
        rows[window, : len(newest)] = newest
    return rows
