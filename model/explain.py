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
        abstained: True unless the conformal set holds exactly one label; always where nothing shows anything.
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
    """Explain one window; rows: its log probabilities float64 [2^modalities, labels] of all subsets."""
    return explain_windows(rows[None], present, modalities, labels, conflict_from, conformal)[0]


def explain_windows(
    rows: NDArray[np.float64],
    present: frozenset[str],
    modalities: Sequence[str],
    labels: Sequence[str],
    conflict_from: float,
    conformal: float,
) -> list[Explanation]:
    """Explain windows with the same modalities in one pass: most of the cost of one is that of calling numpy.

    Args:
        rows: Log probabilities float64 [windows, 2^modalities, labels] of all subsets.
        present: The modalities that the windows have.
        modalities: All modalities, in the order of the bits of a row's index.
        labels: The labels.
        conflict_from: `odd` is set from this conflict on.
        conformal: Threshold of 1 - p for the conformal set.
    """
    places = [(m, 1 << i) for i, m in enumerate(modalities) if m in present]
    # A modality whose items have no content has the row of the prior, and counts as absent.
    shows = {m: (rows[:, bit] != rows[:, 0]).any(1) for m, bit in places}
    if not all(windows.all() for windows in shows.values()):
        shown = [frozenset(m for m in shows if shows[m][n]) for n in range(len(rows))]
        return [
            explain_window(row, names, modalities, labels, conflict_from, conformal)
            for row, names in zip(rows, shown, strict=True)
        ]
    full_subset = sum(bit for _, bit in places)
    subset_probabilities = np.exp(rows)
    probabilities = subset_probabilities[:, full_subset]
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
    top_probabilities = np.take_along_axis(probabilities, order, 1).tolist()
    best = rows[:, full_subset].argmax(1)
    values_of_best = rows[np.arange(len(rows)), :, best].tolist()
    confidences = probabilities[np.arange(len(rows)), best].tolist()
    set_sizes = (probabilities >= 1 - conformal).sum(1).tolist()
    conflicts = _conflict_probabilities(rows, subset_probabilities, present, modalities)
    return [
        Explanation(
            label=labels[label],
            confidence=confidence,
            score=values[full_subset],
            baseline=values[0],
            contributions={m: _shapley(values, i, len(modalities)) for i, m in enumerate(modalities)},
            top=tuple([(labels[i], p) for i, p in zip(places, top_p, strict=True)]),
            conflict=conflict,
            odd=odd if conflict >= conflict_from else None,
            abstained=set_size != 1 or not full_subset,
        )
        for label, confidence, values, places, top_p, (conflict, odd), set_size in zip(
            best.tolist(),
            confidences,
            values_of_best,
            order.tolist(),
            top_probabilities,
            conflicts,
            set_sizes,
            strict=True,
        )
    ]


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


def _conflict_probabilities(
    rows: NDArray[np.float64],
    subset_probabilities: NDArray[np.float64],
    present: frozenset[str],
    modalities: Sequence[str],
) -> list[tuple[float, str | None]]:
    """Return for each window how probable it is that one modality shows another label than all others, and the likeliest one.

    By Bayes' rule from the single-modality predictions, with equal priors for conflict and agreement and for each odd
    modality, which needs at least three. `subset_probabilities` is exp(rows).
    """
    indices = [i for i, m in enumerate(modalities) if m in present]
    if len(indices) < 2:
        return [(0.0, None)] * len(rows)
    prior, elsewhere_before = subset_probabilities[:, 0], np.maximum(1 - subset_probabilities[:, 0], 1e-9)
    evidence = {i: rows[:, 1 << i] - rows[:, 0] for i in indices}
    agree = (prior * np.exp(sum(evidence.values()))).sum(1).tolist()
    masses: list[list[float]] = []
    for i in indices:
        others = prior * np.exp(sum(evidence[j] for j in indices if j != i))
        elsewhere = np.maximum(1 - subset_probabilities[:, 1 << i], 0) / elsewhere_before
        masses.append((others * elsewhere).sum(1).tolist())
    names = [modalities[i] for i in indices]
    conflicts: list[tuple[float, str | None]] = []
    for window_agree, odd_masses in zip(agree, zip(*masses, strict=True), strict=True):
        odd = sum(odd_masses) / len(odd_masses)
        name = max(zip(odd_masses, names, strict=True))[1] if len(indices) > 2 else None
        conflicts.append((odd / max(odd + window_agree, 1e-300), name))
    return conflicts
