"""What would have been said without a sense: from the log probabilities of all subsets, which are there already. Pure."""

from __future__ import annotations

from collections.abc import Sequence
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
    there = [(m, 1 << i) for i, m in enumerate(modalities) if m in present]
    everything = sum(bit for _, bit in there)
    out = []
    for count in range(1, len(there) + 1):
        for gone in combinations(there, count):
            row = rows[everything - sum(bit for _, bit in gone)]
            best = int(row.argmax())
            out.append(Counterfactual(tuple(m for m, _ in gone), labels[best], float(np.exp(row[best]))))
    return tuple(out)
