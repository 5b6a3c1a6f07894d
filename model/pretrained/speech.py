"""Google's speech embedding: 96 values for each 80 ms of sound, from the 775 ms around them.

Two files: log-mel of 16 kHz sound, and the embedding of 76 of its frames (Lin et al. 2020, arXiv:2002.01322).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from model.pretrained.encoder import Vectors, pool_vectors
from model.pretrained.manifest import EncoderManifest
from model.pretrained.runtime import TFLiteRuntime

MEL_FILE, EMBEDDING_FILE = "melspectrogram.tflite", "embedding_model.tflite"
RATE, FRAMES, STEP, MELS, FEATURES = 16_000, 76, 8, 32, 96
# The fewest samples with 76 frames of 25 ms every 10 ms.
SAMPLES_MIN = 12_640
BATCH = 16
# Below this peak, in [0, 1], a sound counts as silence: less than one step of 16 bits.
SILENCE_PEAK = 2e-5


class SpeechOptions(BaseModel):
    """The options of the kind `speech-embedding`."""

    model_config = ConfigDict(extra="forbid")

    pool: str = Field("mean+max+std", pattern=r"^(mean|max|std)(\+(mean|max|std))*$")
    margin: float = Field(
        0.4, ge=0, le=2, description="Seconds of silence before and behind each item: half of what a step covers."
    )
    peak: float | None = Field(0.5, gt=0, le=1, description="Scale each item to this peak; None keeps its level.")


class SpeechEncoder:
    """The speech embedding, pooled over the time of an item."""

    sample_rate: int | None = RATE

    def __init__(self, folder: Path, manifest: EncoderManifest) -> None:
        options = SpeechOptions.model_validate(manifest.options)
        self.name, self.modality, self.digest = manifest.name, manifest.modality, manifest.digest
        self._pool, self._peak, self._margin = options.pool, options.peak, int(options.margin * RATE)
        self.size = FEATURES * len(options.pool.split("+"))
        self._mel = TFLiteRuntime(folder / MEL_FILE)
        self._embedding = TFLiteRuntime(folder / EMBEDDING_FILE)

    def encode(self, items: Sequence[NDArray[np.float32]]) -> Vectors:
        """Encode sounds float32 [n] at 16 kHz to float32 [items, size]; silence is a row of zeros."""
        vectors = np.zeros((len(items), self.size), np.float32)
        audible = [n for n, item in enumerate(items) if len(item) and np.abs(item).max() > SILENCE_PEAK]
        steps = self.encode_steps([items[n] for n in audible])
        for n, embedded in zip(audible, steps, strict=True):
            vectors[n] = pool_vectors(embedded, self._pool)
        return vectors

    def encode_steps(self, items: Sequence[NDArray[np.float32]]) -> list[Vectors]:
        """Encode sounds to float32 [steps of 80 ms, 96] each; a step covers 775 ms."""
        windows = [self._windows(item) for item in items]
        joined = np.concatenate(windows) if windows else np.zeros((0, FRAMES, MELS, 1), np.float32)
        embedded = np.zeros((len(joined), FEATURES), np.float32)
        batch = np.zeros((BATCH, FRAMES, MELS, 1), np.float32)
        for begin in range(0, len(joined), BATCH):
            part = joined[begin : begin + BATCH]
            batch[: len(part)] = part
            embedded[begin : begin + BATCH] = self._embedding.run(batch)[0].reshape(BATCH, FEATURES)[: len(part)]
        ends = np.cumsum([len(window) for window in windows])[:-1]
        return np.split(embedded, ends) if windows else []

    def _windows(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the windows of log-mel frames, float32 [steps, FRAMES, MELS, 1]."""
        if self._peak is not None:
            samples = samples * np.float32(self._peak / max(float(np.abs(samples).max(initial=0)), SILENCE_PEAK))
        # With silence around it, a word of any length stands in the middle of some step: .90 -> .96 of an unseen voice's digits.
        missing = max(SAMPLES_MIN - len(samples) - 2 * self._margin, 0)
        padded = np.pad(samples, (self._margin + missing // 2, self._margin + missing - missing // 2))
        # The network expects the scale of 16-bit integers, and its log-mel divided by 10 plus 2. It limits the dynamic range
        # by the loudest frame of the whole input, so that each item has a run of its own.
        mel = self._mel.run((padded * 32767)[None].astype(np.float32))[0].reshape(-1, MELS) / 10 + 2
        begins = range(0, len(mel) - FRAMES + 1, STEP)
        return np.stack([mel[begin : begin + FRAMES] for begin in begins])[..., None].astype(np.float32)
