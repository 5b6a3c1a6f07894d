"""Metrics of predicted probabilities.

Functions take probabilities float64 [n, labels], or log probabilities where only their order matters, and true labels
int64 [n].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 15
SAMPLINGS = 1_000
Probabilities = NDArray[np.float64]
Labels = NDArray[np.int64]


class ExcessError(NamedTuple):
    """ECE, its excess over sampling noise, and the 99th percentile of ECE under sampling noise alone."""

    ece: float
    excess: float
    p99: float


def accuracy(p: Probabilities, labels: Labels) -> float:
    """Return the share of correct predictions."""
    return float((p.argmax(1) == labels).mean())


def macro_f1(p: Probabilities, labels: Labels) -> float:
    """Return the mean F1 over the labels that occur."""
    predicted = p.argmax(1)
    scores = []
    for label in np.unique(labels):
        both = float(((predicted == label) & (labels == label)).sum())
        scores.append(2 * both / float((predicted == label).sum() + (labels == label).sum()))
    return float(np.mean(scores))


def nll(p: Probabilities, labels: Labels) -> float:
    """Return the mean negative log probability of the true label."""
    return float(-np.log(np.clip(p[np.arange(len(labels)), labels], 1e-12, None)).mean())


def brier(p: Probabilities, labels: Labels) -> float:
    """Return the mean squared distance to the one-hot true label, summed over labels (Brier 1950)."""
    return float(((p - np.eye(p.shape[1])[labels]) ** 2).sum(1).mean())


def excess_ece(p: Probabilities, labels: Labels, seed: int = 0) -> ExcessError:
    """Compute ECE with equal-mass bins, and its excess over the mean ECE of a perfectly calibrated model.

    With 300 samples, a perfect model has an ECE of about .05 by sampling alone.
    """
    confidence = p.max(1)
    order = np.argsort(confidence, kind="stable")
    right = (p.argmax(1) == labels)[order].astype(np.float64)
    confidence = confidence[order]
    edges = [part[0] for part in np.array_split(np.arange(len(order)), BINS) if len(part)]
    drawn = np.random.default_rng(seed).random((SAMPLINGS, len(order))) < confidence
    ece = _ece(right[None] - confidence, edges)[0]
    by_chance = _ece(drawn - confidence, edges)
    return ExcessError(float(ece), float(ece - by_chance.mean()), float(np.quantile(by_chance, 0.99)))


def _ece(gaps: NDArray[np.float64], edges: list[int]) -> NDArray[np.float64]:
    """Compute ECE from gaps [draws, n]: correctness minus confidence, in order of confidence."""
    summed: NDArray[np.float64] = np.abs(np.add.reduceat(gaps, edges, axis=1)).sum(1) / gaps.shape[1]
    return summed


def auroc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Return the probability that a positive scores above a negative; ties count half."""
    order = np.concatenate([scores[positive], scores[~positive]])
    _, rank, count = np.unique(order, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    above = middle[rank[: positive.sum()]].sum() - positive.sum() * (positive.sum() + 1) / 2
    return float(above / (positive.sum() * (~positive).sum()))


def paired_lower_bound(right: NDArray[np.bool_], reference: NDArray[np.bool_]) -> float:
    """Return the one-sided 95 % paired-bootstrap lower bound of the difference of two accuracies on the same samples."""
    return lower_bound(right.astype(np.float64) - reference.astype(np.float64))


def lower_bound(gap: NDArray[np.float64], draws: int = 2_000, seed: int = 0) -> float:
    """Return the one-sided 95 % bootstrap lower bound of a mean over samples; gap float64 [n]."""
    picks = np.random.default_rng(seed).integers(0, len(gap), (draws, len(gap)))
    return float(np.quantile(gap[picks].mean(1), 0.05))
