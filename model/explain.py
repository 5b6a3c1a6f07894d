"""Explain a prediction from the log probabilities of all subsets: exact contributions, conflict and abstention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import factorial

import numpy as np
from numpy.typing import NDArray

TOP = 5


@dataclass(frozen=True, slots=True)
class Explanation:
    """The prediction of one window and its explanation.

    Attributes:
        label: The most likely label.
        confidence: Its probability.
        score: Its log probability.
        baseline: Its log probability with no input.
        contributions: Shapley values by modality; they sum to score - baseline (1e-6).
        top: The most likely labels with their probabilities.
        conflict: Probability in [0, 1] that one modality shows another label than the others.
        odd: The modality that contradicts the two others.
        abstained: True unless the conformal set holds exactly one label.
    """

    label: str
    confidence: float
    score: float
    baseline: float
    contributions: dict[str, float]
    top: tuple[tuple[str, float], ...]
    conflict: float
    odd: str | None
    abstained: bool


def explain_window(
    rows: NDArray[np.float64],
    present: frozenset[str],
    modalities: Sequence[str],
    labels: Sequence[str],
    conflict_from: float,
    conformal: float,
) -> Explanation:
    """Explain one window.

    Args:
        rows: Log probabilities float64 [2^modalities, labels] of all subsets.
        present: The modalities that the window has.
        modalities: All modalities, in the order of the bits of a row's index.
        labels: The labels.
        conflict_from: `odd` is set from this conflict on.
        conformal: Threshold of 1 - p for the conformal set.
    """
    full_subset = sum(1 << i for i, m in enumerate(modalities) if m in present)
    best = int(rows[full_subset].argmax())
    subset_probabilities = np.exp(rows)
    probabilities = subset_probabilities[full_subset]
    order = np.argsort(-probabilities, kind="stable")[:TOP]
    conflict, odd = _conflict_probability(rows, subset_probabilities, present, modalities)
    set_size = int((probabilities >= 1 - conformal).sum())
    values = rows[:, best].tolist()
    return Explanation(
        label=labels[best],
        confidence=float(probabilities[best]),
        score=float(rows[full_subset, best]),
        baseline=float(rows[0, best]),
        contributions={m: _shapley(values, i, len(modalities)) for i, m in enumerate(modalities)},
        top=tuple((labels[i], float(probabilities[i])) for i in order),
        conflict=conflict,
        odd=odd if conflict >= conflict_from else None,
        abstained=set_size != 1,
    )


def _shapley(values: Sequence[float], player: int, count: int) -> float:
    """Return the Shapley value of one player (Shapley 1953); it is exactly 0 for an absent modality."""
    total = 0.0
    for subset, weight in _shapley_weights(player, count):
        total += weight * (values[subset | 1 << player] - values[subset])
    return total


@lru_cache(256)
def _shapley_weights(player: int, count: int) -> Sequence[tuple[int, float]]:
    """Return the subsets without a player and their weights."""
    return [
        (subset, factorial(subset.bit_count()) * factorial(count - subset.bit_count() - 1) / factorial(count))
        for subset in range(1 << count)
        if not subset >> player & 1
    ]


def _conflict_probability(
    rows: NDArray[np.float64],
    subset_probabilities: NDArray[np.float64],
    present: frozenset[str],
    modalities: Sequence[str],
) -> tuple[float, str | None]:
    """Return the probability that one modality shows another label than all others, and the likeliest one (of three).

    By Bayes' rule from the single-modality predictions, with equal priors for conflict and agreement and for each odd
    modality. `subset_probabilities` is exp(rows).
    """
    indices = [i for i, m in enumerate(modalities) if m in present]
    if len(indices) < 2:
        return 0.0, None
    prior, elsewhere_before = subset_probabilities[0], np.maximum(1 - subset_probabilities[0], 1e-9)
    evidence = {i: rows[1 << i] - rows[0] for i in indices}
    agree = float((prior * np.exp(sum(evidence.values()))).sum())
    odd_masses: list[tuple[float, str]] = []
    for i in indices:
        others = prior * np.exp(sum(evidence[j] for j in indices if j != i))
        elsewhere = np.maximum(1 - subset_probabilities[1 << i], 0) / elsewhere_before
        odd_masses.append((float((others * elsewhere).sum()), modalities[i]))
    odd = sum(mass for mass, _ in odd_masses) / len(odd_masses)
    return odd / max(odd + agree, 1e-300), max(odd_masses)[1] if len(indices) > 2 else None
