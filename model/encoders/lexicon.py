"""Map words to rows of the vector table, including words with swapped letters and compounds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.encoders.text import PAD, UNKNOWN, WORDS_MAX, tokenize

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
