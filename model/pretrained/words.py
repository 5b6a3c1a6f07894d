"""Static text embeddings of WordLlama: a table of 32,000 subwords with 256 values each, averaged over a text.

The two files of the package are read directly; its tokenizer is byte-pair encoding, which is a few lines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from safetensors.numpy import load as load_tensors

from model.pretrained.encoder import Vectors
from model.pretrained.manifest import EncoderManifest

TOKENIZER_FILE, TABLE_FILE = "l2_supercat_tokenizer_config.json", "l2_supercat_256.safetensors"
SPACE = "▁"
CHARACTERS_MAX, WORDS_CACHED = 8_192, 65_536
_READABLE = re.compile(r"[A-Za-z0-9]")


class WordsOptions(BaseModel):
    """The options of the kind `wordllama`."""

    model_config = ConfigDict(extra="forbid")

    size: int = Field(256, ge=16, le=256, description="The first values of a vector are the most important ones.")
    lower: bool = Field(True, description="Lower the letters of a text first.")


class WordsEncoder:
    """The mean of the subword vectors of a text, scaled to unit length."""

    sample_rate: int | None = None

    def __init__(self, folder: Path, manifest: EncoderManifest) -> None:
        options = WordsOptions.model_validate(manifest.options)
        self.name, self.modality, self.digest = manifest.name, manifest.modality, manifest.digest
        self.size, self._lower = options.size, options.lower
        model = json.loads((folder / TOKENIZER_FILE).read_bytes())["model"]
        self._vocabulary: dict[str, int] = model["vocab"]
        self._ranks = {tuple(pair.split(" ", 1)): rank for rank, pair in enumerate(model["merges"])}
        table = next(iter(load_tensors((folder / TABLE_FILE).read_bytes()).values()))
        self._table = np.ascontiguousarray(table[:, : self.size])
        self._subwords_of = lru_cache(WORDS_CACHED)(self._split)

    def encode(self, items: Sequence[str]) -> Vectors:
        """Encode texts to float32 [texts, size]; a text without Latin letters and digits is a row of zeros."""
        vectors = np.zeros((len(items), self.size), np.float32)
        for row, text in enumerate(items):
            rows = self.tokenize(text)
            if rows:
                mean = self._table[rows].astype(np.float32).mean(0)
                vectors[row] = mean / max(float(np.linalg.norm(mean)), 1e-9)
        return vectors

    def tokenize(self, text: str) -> list[int]:
        """Return the rows of a text's subwords, of words with Latin letters or digits only: the table knows no others."""
        words = (text.lower() if self._lower else text)[:CHARACTERS_MAX].split()
        return [row for word in words if _READABLE.search(word) for row in self._subwords_of(word)]

    def _split(self, word: str) -> tuple[int, ...]:
        """Merge the characters of a word, in the order in which the tokenizer learned its merges."""
        parts = list(SPACE + word)
        while len(parts) > 1:
            ranked = [(self._ranks.get(pair, len(self._ranks)), n) for n, pair in enumerate(pairwise(parts))]
            rank, place = min(ranked)
            if rank == len(self._ranks):
                break
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        # A character that is in no subword is left out; the original splits it into bytes, which mean nothing here.
        return tuple(self._vocabulary[part] for part in parts if part in self._vocabulary)
