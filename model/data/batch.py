"""Collate scenes into tensors: every item once, and for each window the items that it holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.data.scene import SEGMENTS, WINDOW_SEGMENTS, WINDOWS, Scene
from model.encoders.audio import SEGMENT_SAMPLES, LogMel
from model.encoders.image import prepare_image
from model.encoders.text import Vocabulary
from model.streams.network import ITEMS_MAX, MODALITIES


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
