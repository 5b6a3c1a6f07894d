"""Titles and class names as vectors: pretrained word vectors, and for words without one the runs of letters in them."""

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
    """Text to a vector of unit length, float32 [vector size + HASHED]; nothing of it is learned.

    The first part is the mean of the word vectors, the second of the hashed runs of three letters (Bojanowski et al.
    2017), by which "sneeze" and "sneezing" lie near each other though neither has a vector.
    """

    def __init__(self, vectors: Path) -> None:
        words, table = read_word_vectors(vectors)
        values = table.numpy()[2:]
        # Word vectors share a direction that says only "a word" (Mu and Viswanath 2018): without it they are told apart.
        self._middle = values.mean(0)
        self._rows = dict(zip(words, values - self._middle, strict=True))
        self.size = values.shape[1] + HASHED

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [texts, size]; a text without a letter is zeros."""
        return np.stack([self._one(text) for text in texts])

    def _one(self, text: str) -> NDArray[np.float32]:
        words = [word for word in tokenize(text) if word[0] in ALPHABET]
        known = [_normalize(self._rows[word]) for word in words if word in self._rows]
        meant = np.mean(known, 0) if known else np.zeros(self.size - HASHED, np.float32)
        spelled = np.zeros(HASHED, np.float32)
        for word in words:
            bounded = f"<{word}>"
            for at in range(len(bounded) - NGRAM_LETTERS + 1):
                drawn = hashlib.sha256(bounded[at : at + NGRAM_LETTERS].encode()).digest()
                spelled[drawn[0] % HASHED] += 1.0 if drawn[1] & 1 else -1.0
        return _normalize(np.concatenate([_normalize(meant), _normalize(spelled)])).astype(np.float32)


def _normalize(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 0 else vector
