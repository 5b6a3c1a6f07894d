"""What a frozen encoder is: a vector for each item, a function of the item and of the encoder's digest alone."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from services.contract.user_errors import EXIT_USAGE, BraidError

Vectors = NDArray[np.float32]


class EncoderError(BraidError):
    """An encoder that cannot be used; the message says what happened, why and what to do."""

    exit_code = EXIT_USAGE


class FrozenEncoder(Protocol):
    """An encoder that training does not change.

    Attributes:
        name: The name by which a model asks for it.
        modality: The modality whose items it encodes.
        digest: SHA-256 over its files, options and code; the digest of a model that uses it covers this one.
        size: The length of a vector.
        sample_rate: The rate of the audio items in Hz; None for other modalities.
    """

    name: str
    modality: str
    digest: str
    size: int
    sample_rate: int | None

    def encode(self, items: Sequence[Any]) -> Vectors:
        """Encode items to float32 [items, size], each independently of the others.

        Args:
            items: text str; video uint8 [height, width, 3]; audio float32 [n] in [-1, 1] at `sample_rate`; other modalities
                as their decoder returns them.

        Returns:
            One row for each item. A row of zeros means that the item holds nothing to encode (no known word, no hand,
            silence): it is absent evidence, not data for a class.
        """


def resample_audio(samples: NDArray[np.float32], rate: int, target: int) -> NDArray[np.float32]:
    """Resample float32 [n] from a rate to that of an encoder, both in Hz."""
    if rate == target or not len(samples):
        return samples
    # Torch is loaded only for audio of another rate.
    import torch

    from model.audio_transforms import resample

    resampled: NDArray[np.float32] = resample(torch.from_numpy(samples), rate, target).numpy()
    return resampled


def pool_vectors(vectors: Vectors, how: str) -> Vectors:
    """Reduce the vectors of an item's parts, [parts, size], to one by `mean`, `max`, `mean+max` or `mean+max+std`."""
    pooled = {"mean": vectors.mean(0), "max": vectors.max(0), "std": vectors.std(0)}
    return np.concatenate([pooled[name] for name in how.split("+")]).astype(np.float32)


class CachedEncoder:
    """An encoder with its results in a SQLite file, by encoder digest and content hash, so that epochs encode once."""

    def __init__(self, encoder: FrozenEncoder, file: Path) -> None:
        self._encoder = encoder
        self.name, self.modality, self.digest = encoder.name, encoder.modality, encoder.digest
        self.size, self.sample_rate = encoder.size, encoder.sample_rate
        file.parent.mkdir(parents=True, exist_ok=True)
        self._rows = sqlite3.connect(file, timeout=60)
        self._rows.execute("create table if not exists vectors (key blob primary key, vector blob) without rowid")

    def encode(self, items: Sequence[Any]) -> Vectors:
        """Encode items; those that are in the cache are not encoded again."""
        keys = [self._key(item) for item in items]
        vectors = {key: self._read(key) for key in set(keys)}
        missing = {key: item for key, item in zip(keys, items, strict=True) if vectors[key] is None}
        if missing:
            encoded = self._encoder.encode(list(missing.values()))
            with self._rows:
                self._rows.executemany(
                    "insert or replace into vectors values (?, ?)",
                    [(key, row.tobytes()) for key, row in zip(missing, encoded, strict=True)],
                )
            vectors |= zip(missing, encoded, strict=True)
        rows = [vectors[key] for key in keys]
        return np.array(rows, np.float32).reshape(len(items), self.size)

    def close(self) -> None:
        """Close the file."""
        self._rows.close()

    def _key(self, item: Any) -> bytes:
        shape, content = ("str", item.encode()) if isinstance(item, str) else (str(item.shape), item.tobytes())
        return hashlib.sha256(f"{self.digest} {shape} ".encode() + content).digest()

    def _read(self, key: bytes) -> Vectors | None:
        row = self._rows.execute("select vector from vectors where key = ?", (key,)).fetchone()
        return None if row is None else np.frombuffer(row[0], np.float32)
