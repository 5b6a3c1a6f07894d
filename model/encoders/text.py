"""Text: pretrained word vectors, a bidirectional GRU over the words, the maximum of each feature."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

WORDS_MAX = 24
LEARNED = 16
_WORD = re.compile(r"[a-z]+|[0-9]+")
PAD, UNKNOWN = 0, 1


def tokenize(text: str) -> list[str]:
    """Split a text into the tokens of the word vectors: lower case, runs of letters or of digits."""
    return _WORD.findall(text.lower())


class Vocabulary:
    """Maps words to rows of the vector table."""

    def __init__(self, words: list[str]) -> None:
        self.words = words
        self._rows = {word: row + 2 for row, word in enumerate(words)}

    def prepare(self, text: str) -> NDArray[np.int64]:
        """Return rows int64 [WORDS_MAX] with PAD after the last word; of a long text, the last words are used."""
        rows = [self._rows.get(word, UNKNOWN) for word in tokenize(text)][-WORDS_MAX:]
        return np.array(rows + [PAD] * (WORDS_MAX - len(rows)), np.int64)


def read_word_vectors(path: Path) -> tuple[list[str], Tensor]:
    """Read words and their table float32 [2 + words, 50]; unknown words get the mean of the 100 rarest."""
    with np.load(path, allow_pickle=False) as file:
        words = [str(word) for word in file["words"]]
        vectors = file["vec"].astype(np.float32)
        rarest = np.argsort(file["count"])[:100]
    table = np.concatenate([np.zeros((1, vectors.shape[1]), np.float32), vectors[rarest].mean(0)[None], vectors])
    return words, torch.from_numpy(table)


class TextEncoder(nn.Module):
    """GRU over pretrained vectors and a few learned values per word; the vectors are not trained.

    Distributional vectors of "seven" and "eight" are nearly equal, which the learned values make up for.
    """

    def __init__(self, word_count: int, vector_size: int, features: int, hidden: int = 40) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.zeros(word_count + 2, vector_size, dtype=torch.float16))
        self.learned = nn.Embedding(word_count + 2, LEARNED, padding_idx=PAD)
        self.gru = nn.GRU(vector_size + LEARNED, hidden, batch_first=True, bidirectional=True)
        self.out = nn.Linear(2 * hidden, features)
        self.drop = nn.Dropout(0.2)

    def forward(self, rows: Tensor) -> Tensor:
        """Encode rows int64 [batch, WORDS_MAX] to float32 [batch, features]."""
        vectors: Tensor = self.vectors  # type: ignore[assignment]
        states, _ = self.gru(self.drop(torch.cat([vectors[rows].float(), self.learned(rows)], -1)))
        states = states.masked_fill((rows == PAD).unsqueeze(-1), -1.0)
        return torch.relu(self.out(states.amax(1)))
