"""Embed titles and class names: pretrained word vectors, and hashed letter n-grams for words without one."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.encoders.text import read_word_vectors, tokenize

NGRAM_LETTERS = 3
HASHED = 64
ALPHABET = "abcdefghijklmnopqrstuvwxyz"


class TitleVectors:
    """Maps a text to a unit vector, float32 [vector size + HASHED]; nothing is learned.

    The first part is the mean of the word vectors, the second of hashed letter trigrams (Bojanowski et al. 2017), by which
    "sneeze" and "sneezing" are near each other though neither has a vector.
    """

    def __init__(self, vectors: Path) -> None:
        words, table = read_word_vectors(vectors)
        values = table.numpy()[2:]
        # Subtract the common mean, which hides differences between word vectors (Mu and Viswanath 2018).
        self._middle = values.mean(0)
        self._rows = dict(zip(words, values - self._middle, strict=True))
        self.size = values.shape[1] + HASHED

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts, float32 [texts, size]; a text without letters is zero."""
        return np.stack([self._one(text) for text in texts])

    def _one(self, text: str) -> NDArray[np.float32]:
        words = [word for word in tokenize(text) if word[0] in ALPHABET]
        known = [_normalize(self._rows[word]) for word in words if word in self._rows]
        meant = np.mean(known, 0) if known else np.zeros(self.size - HASHED, np.float32)
        spelled = np.zeros(HASHED, np.float32)
        for word in words:
            bounded = f"<{word}>"
            for begin in range(len(bounded) - NGRAM_LETTERS + 1):
                drawn = hashlib.sha256(bounded[begin : begin + NGRAM_LETTERS].encode()).digest()
                spelled[drawn[0] % HASHED] += 1.0 if drawn[1] & 1 else -1.0
        return _normalize(np.concatenate([_normalize(meant), _normalize(spelled)])).astype(np.float32)


def _normalize(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector
