"""Replace one modality of samples by noise: random words, pixels or audio."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.random import Generator

from model.data.example import Example

SEED = 50_001
SYLLABLES = ("ka", "mo", "ti", "lu", "ren", "sol", "bi", "dar", "ne", "fo")


def substitute_noise(examples: Sequence[Example], modality: str) -> list[Example]:
    """Return the samples with noise in place of a modality, the same noise each time."""
    rng = np.random.default_rng(SEED)
    substituted = []
    for example in examples:
        substituted.append(example.with_values(**{modality: _noise(example, modality, rng)}))
    return substituted


def _noise(example: Example, modality: str, rng: Generator) -> Any:
    value = example.value(modality)
    if value is None:
        return None
    if modality == "text":
        return " ".join("".join(rng.choice(SYLLABLES, 3)) for _ in value.split())
    if modality == "video":
        return rng.integers(0, 256, value.shape, dtype=np.uint8)
    return rng.normal(0, 0.05, len(value)).astype(np.float32)
