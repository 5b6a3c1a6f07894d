"""Words to rows of the vector table, those of swapped letters or run together included."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.encoders.text import PAD, UNKNOWN, WORDS_MAX, tokenize

PART_MIN = 3
# What may be left behind the last part: "dogbarks", "chainsawing".
ENDING_MAX = 3


class Lexicon:
    """Word to row; a word that is not in the table is read as one with the same letters, or as the parts it holds.

    Nothing is learned here: two neighbouring letters that were swapped leave the letters of a word what they are, and
    titles run words together ("dogbark"). Parts make up the word from its first letter on: "mamaroneck" says no "one".
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._rows = {word: row + 2 for row, word in enumerate(words)}
        self._rows_by_letters: dict[str, int] = {}
        for word, row in self._rows.items():
            self._rows_by_letters.setdefault(sorted_letters(word), row)

    def prepare(self, text: str) -> NDArray[np.int64]:
        """Rows int64 [WORDS_MAX], PAD behind the last word; the last words are kept of a long text."""
        rows = [row for word in tokenize(text) for row in self._rows_of(word)][-WORDS_MAX:]
        return np.array(rows + [PAD] * (WORDS_MAX - len(rows)), np.int64)

    def _rows_of(self, word: str) -> list[int]:
        if word in self._rows:
            return [self._rows[word]]
        if len(word) > PART_MIN and (alike := self._rows_by_letters.get(sorted_letters(word))) is not None:
            return [alike]
        return self._split_compound(word) or [UNKNOWN]

    def _split_compound(self, word: str) -> list[int]:
        """The longest known words that an unknown one is made of, from its first letter to its ending; else none."""
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


def sorted_letters(word: str) -> str:
    return "".join(sorted(word))
