"""What a model says of a window, and what each modality contributed to it: exact, from all subsets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import factorial

import numpy as np
from numpy.typing import NDArray

TOP = 5


@dataclass(frozen=True, slots=True)
class Explanation:
    """The label with its log probability (score), the same with nothing seen (baseline), and the Shapley values.

    contributions sum to score - baseline (1e-6); conflict in [0, 1]: how far the senses contradict each other; odd:
    the one that contradicts the two others; abstained: the conformal set holds not exactly one label.
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


def explain(
    rows: NDArray[np.float64],
    present: frozenset[str],
    modalities: Sequence[str],
    labels: Sequence[str],
    conflict_from: float,
    conformal: float,
) -> Explanation:
    """Explain one window from its log probabilities float64 [2^modalities, labels] of all subsets."""
    everything = sum(1 << i for i, m in enumerate(modalities) if m in present)
    best = int(rows[everything].argmax())
    probabilities = np.exp(rows[everything])
    order = np.argsort(-probabilities, kind="stable")[:TOP]
    conflict, odd = _conflict(rows, present, modalities)
    held = int((probabilities >= 1 - conformal).sum())
    return Explanation(
        label=labels[best],
        confidence=float(probabilities[best]),
        score=float(rows[everything, best]),
        baseline=float(rows[0, best]),
        contributions={m: _shapley(rows[:, best], i, len(modalities)) for i, m in enumerate(modalities)},
        top=tuple((labels[i], float(probabilities[i])) for i in order),
        conflict=conflict,
        odd=odd if conflict >= conflict_from else None,
        abstained=held != 1,
    )


def _shapley(values: NDArray[np.float64], player: int, count: int) -> float:
    """The Shapley value of one player (Shapley 1953); absent ones come out as exactly 0, for they change nothing."""
    total = 0.0
    for subset in range(1 << count):
        if not subset >> player & 1:
            size = subset.bit_count()
            weight = factorial(size) * factorial(count - size - 1) / factorial(count)
            total += weight * float(values[subset | 1 << player] - values[subset])
    return total


def _conflict(
    rows: NDArray[np.float64], present: frozenset[str], modalities: Sequence[str]
) -> tuple[float, str | None]:
    """The largest probability that one sense and all others mean different labels, and that sense (of three)."""
    places = [i for i, m in enumerate(modalities) if m in present]
    found: list[tuple[float, str]] = []
    for i in places:
        others = sum(1 << j for j in places if j != i)
        if others:
            agree = float(np.exp(rows[1 << i] + rows[others]).sum())
            found.append((1 - agree, modalities[i]))
    if not found:
        return 0.0, None
    conflict, odd = max(found)
    return max(conflict, 0.0), odd if len(places) > 2 else None
