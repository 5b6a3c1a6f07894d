"""Measure membership inference: the loss-threshold attack (Yeom et al. 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model import metrics
from model.data.example import Example, Examples
from model.predict_examples import predict_examples
from model.predictor import FusionModel


@dataclass(frozen=True, slots=True)
class AttackResult:
    """The result of an attack.

    Attributes:
        auc: Probability that a training row has less loss than a held-out one; .5 is chance.
        advantage: Largest difference of true and false positive rates over all thresholds.
        members: Number of training rows.
        others: Number of held-out rows.
    """

    auc: float
    advantage: float
    members: int
    others: int


def membership_by_severity(model: FusionModel, data: Examples, part: str = "test") -> dict[str, AttackResult]:
    """Attack the training rows against those of a split, both as the manifest degrades them, by severity.

    Held-out rows are of other people and sentences, which can only help the attacker.
    """
    return {
        s: loss_threshold_attack(
            label_losses(model, data.samples("train", s)), label_losses(model, data.samples(part, s))
        )
        for s in data.severities
    }


def loss_threshold_attack(members: NDArray[np.float64], others: NDArray[np.float64]) -> AttackResult:
    """Attack by the losses of members and others."""
    scores = -np.concatenate([members, others])
    inside = np.arange(len(scores)) < len(members)
    thresholds = np.unique(scores)
    caught = 1 - np.searchsorted(np.sort(-members), thresholds) / len(members)
    false = 1 - np.searchsorted(np.sort(-others), thresholds) / len(others)
    return AttackResult(
        round(metrics.auroc(scores, inside), 4),
        round(float(max((caught - false).max(), 0.0)), 4),
        len(members),
        len(others),
    )


def label_losses(model: FusionModel, examples: Sequence[Example]) -> NDArray[np.float64]:
    """Return the loss of each example's true label with all of its modalities, float64 [examples]."""
    rows = predict_examples(model, examples)
    labels = [e.label for e in examples]
    losses: NDArray[np.float64] = -rows[np.arange(len(rows)), -1, labels]
    return losses
