"""Choose the words that a task's text branch knows, with their pretrained vectors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.data.degradations import HOMOPHONES, WORDS
from model.encoders.text import read_word_vectors, tokenize


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
