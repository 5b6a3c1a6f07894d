"""What would have been said without a sense: from the log probabilities of all subsets, which are there already. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from services.contract.prediction import Counterfactual


def counterfactuals(
    rows: NDArray[np.float64], present: frozenset[str], modalities: Sequence[str], labels: Sequence[str]
) -> tuple[Counterfactual, ...]:
    """One for every non-empty set of the senses that were there, the fewest taken away first.

    rows: log probabilities float64 [2^modalities, labels] of all subsets, bit i of a row's number for modality i.
    """
    best, p = rows.argmax(1).tolist(), np.exp(rows.max(1)).tolist()
    return tuple([Counterfactual(gone, labels[best[n]], p[n]) for gone, n in _left(present, tuple(modalities))])


@lru_cache(256)
def _left(present: frozenset[str], modalities: tuple[str, ...]) -> Sequence[tuple[tuple[str, ...], int]]:
    """Every non-empty set of the senses that were there, and the number of the row that is left without it."""
    there = [(m, 1 << i) for i, m in enumerate(modalities) if m in present]
    everything = sum(bit for _, bit in there)
    return [
        (tuple(m for m, _ in gone), everything - sum(bit for _, bit in gone))
        for count in range(1, len(there) + 1)
        for gone in combinations(there, count)
    ]
