"""Generate what each training step of the streams model sees, one step ahead of the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from model.data import splits
from model.data.augment import replace_digit_by_number, replace_digit
from model.data.example import Batch, collate
from model.data.degradations import corrupt_image, corrupt_text
from model.data.scene import SceneGenerator
from model.encoders.audio import SEGMENT_SAMPLES, LogMel
from model.encoders.image import prepare_image
from model.encoders.text import Vocabulary, tokenize
from model.labels import LABELS, NOTHING

# Sentences, titles and photos per step; sentences and images without label; sentences with a number that is no digit.
SENTENCES, TITLES, PHOTOS, STRANGE, MISCOUNTED = 64, 32, 32, 12, 8
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class SingleModalityBatch:
    """Items of each modality by itself, with the index in LABELS of what they show.

    spectra float32 [windows * segments, MELS, frames], spectra_labels int64 [windows]; words int64 [texts, WORDS_MAX], word_labels int64
    [texts]; pictures float32 [frames, 3, 64, 64], picture_labels int64 [frames].
    """

    spectra: Tensor
    spectra_labels: Tensor
    words: Tensor
    word_labels: Tensor
    pictures: Tensor
    picture_labels: Tensor


class Curriculum:
    """Generates batches; the same seed gives the same batches in the same order."""

    def __init__(self, data: Path, vocabulary: Vocabulary, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._vocabulary, self._log_mel = vocabulary, LogMel()
        self._digits, self._clips = splits.load_digits(data, "train"), splits.load_clips(data, "train")
        self._maker = SceneGenerator(self._digits, self._clips, splits.load_noises(data), self._rng, shake=True)

    def scenes(self, count: int) -> Batch:
        """Generate and collate scenes."""
        return collate([self._maker.make() for _ in range(count)], self._vocabulary, LABELS, self._log_mel)

    def alone(self, windows: int) -> SingleModalityBatch:
        """Generate `windows` windows of audio, and sentences, titles and photos: scenes hold few for their cost."""
        sounds = [self._maker.make_audio_window() for _ in range(windows)]
        samples = np.stack([sound for sound, _ in sounds]).reshape(-1, SEGMENT_SAMPLES) / 32768
        with torch.no_grad():
            spectra = self._log_mel(torch.from_numpy(samples.astype(np.float32)))
        texts, text_labels = zip(*self._texts(), strict=True)
        pictures, picture_labels = zip(*self._pictures(), strict=True)
        return SingleModalityBatch(
            spectra,
            _label_indices([label for _, label in sounds]),
            torch.from_numpy(np.stack([self._vocabulary.prepare(text) for text in texts])),
            _label_indices(text_labels),
            torch.from_numpy(np.stack([prepare_image(picture) for picture in pictures])),
            _label_indices(picture_labels),
        )

    def _texts(self) -> Iterator[tuple[str, str]]:
        rng = self._rng
        for i in rng.integers(0, len(self._digits), SENTENCES):
            digit = int(rng.integers(10))  # so that only the number predicts the label, not the rest of the sentence
            text = replace_digit(self._digits[i].text, int(self._digits[i].label), digit, rng)
            yield corrupt_text(text, rng), str(digit)
        titled = [clip for clip in self._clips if tokenize(clip.title)]
        for i in rng.integers(0, len(titled), TITLES):
            yield corrupt_text(titled[i].title, rng), titled[i].label
        for i in rng.integers(0, len(self._digits), MISCOUNTED):
            yield replace_digit_by_number(self._digits[i].text, int(self._digits[i].label), rng), NOTHING
        for _ in range(STRANGE):
            yield self._maker.out_of_distribution.sentence(), NOTHING

    def _pictures(self) -> Iterator[tuple[np.ndarray, str]]:
        rng = self._rng
        for i in rng.integers(0, len(self._digits), PHOTOS):
            yield corrupt_image(self._digits[i].hand, rng), self._digits[i].label
        for _ in range(STRANGE):
            yield corrupt_image(self._maker.out_of_distribution.picture(), rng), NOTHING


def prefetch(make: Callable[[], Item], count: int, threads: int) -> Iterator[Item]:
    """Yield `count` results of `make`, computed one ahead in another thread that uses `threads` torch threads."""
    with ThreadPoolExecutor(1, "lessons", torch.set_num_threads, (threads,)) as maker:
        coming = maker.submit(make)
        for left in reversed(range(count)):
            item = coming.result()
            if left:
                coming = maker.submit(make)
            yield item


def _label_indices(labels: list[str] | tuple[str, ...]) -> Tensor:
    return torch.tensor([LABELS.index(label) for label in labels])
