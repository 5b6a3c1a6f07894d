"""Text encoder: pretrained word vectors, a bidirectional GRU over the words, the maximum of each feature.

The lexicon maps words to rows of the vector table, including words with swapped letters and compounds.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.data.degradations import HOMOPHONES, WORDS

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


def build_lexicon(
    sentences: Sequence[str], vectors: Path, *, others: int = 800, numbers: bool = False
) -> tuple[list[str], Tensor]:
    """Return words and their table float32 [2 + words, vector size].

    Known words are: those of the sentences that have a vector; the most frequent `others` in the table; words that occur
    twice without a vector, which get that of unknown words; with `numbers`, numbers and their homophones.
    """
    listed_words, table = read_word_vectors(vectors)
    row = {word: place + 2 for place, word in enumerate(listed_words)}
    counts: dict[str, int] = {}
    for sentence in sentences:
        for word in tokenize(sentence):
            counts[word] = counts.get(word, 0) + 1
    known = {word for word, count in counts.items() if word in row or count > 1}
    known |= set(listed_words[:others])
    if numbers:
        known |= {str(n) for n in range(10)} | set(WORDS) | {word for group in HOMOPHONES for word in group}
    words = sorted(known, key=lambda word: (row.get(word, len(row) + 2), word))
    rows = np.array([0, 1, *(row.get(word, 1) for word in words)])
    return words, table[torch.from_numpy(rows)]


PART_MIN = 3
# Letters that may follow the last part of a compound: "dogbarks", "chainsawing".
ENDING_MAX = 3


class Lexicon:
    """Maps words to rows; an unknown word is read as a known one with the same letters, or as the known words it consists of.

    Nothing is learned here. Swapping two letters leaves the sorted letters of a word unchanged, and titles contain compounds
    ("dogbark"). A compound is split from its first letter on, so "mamaroneck" does not contain "one".
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._rows = {word: row + 2 for row, word in enumerate(words)}
        self._rows_by_letters: dict[str, int] = {}
        for word, row in self._rows.items():
            self._rows_by_letters.setdefault(_sorted_letters(word), row)

    def prepare(self, text: str) -> NDArray[np.int64]:
        """Return rows int64 [WORDS_MAX] with PAD after the last word; of a long text, the last words are used."""
        rows = [row for word in tokenize(text) for row in self._rows_of(word)][-WORDS_MAX:]
        return np.array(rows + [PAD] * (WORDS_MAX - len(rows)), np.int64)

    def _rows_of(self, word: str) -> list[int]:
        if word in self._rows:
            return [self._rows[word]]
        if len(word) > PART_MIN and (alike := self._rows_by_letters.get(_sorted_letters(word))) is not None:
            return [alike]
        return self._split_compound(word) or [UNKNOWN]

    def _split_compound(self, word: str) -> list[int]:
        """Return the rows of the longest known words from the first letter to the ending, else an empty list."""
        rows, begin = [], 0
        while len(word) - begin > ENDING_MAX:
            for end in range(len(word), begin + PART_MIN - 1, -1):
                if word[begin:end] in self._rows:
                    rows.append(self._rows[word[begin:end]])
                    begin = end
                    break
            else:
                return []
        return rows


def _sorted_letters(word: str) -> str:
    return "".join(sorted(word))
