"""What the prediction would be without some modalities, from the log probabilities of all subsets. Pure."""

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
    """Return one counterfactual for every non-empty set of the present modalities, the smallest sets first.

    rows: log probabilities float64 [2^modalities, labels] of all subsets; bit i of a row's index stands for modality i.
    """
    best, p = rows.argmax(1).tolist(), np.exp(rows.max(1)).tolist()
    return tuple(
        [Counterfactual(removed, labels[best[n]], p[n]) for removed, n in _rows_without(present, tuple(modalities))]
    )


@lru_cache(256)
def _rows_without(present: frozenset[str], modalities: tuple[str, ...]) -> Sequence[tuple[tuple[str, ...], int]]:
    """Every non-empty set of the present modalities, and the index of the row without it."""
    bits = [(m, 1 << i) for i, m in enumerate(modalities) if m in present]
    everything = sum(bit for _, bit in bits)
    return [
        (tuple(m for m, _ in removed), everything - sum(bit for _, bit in removed))
        for count in range(1, len(bits) + 1)
        for removed in combinations(bits, count)
    ]
