"""Compare the same heads trained with and without privacy, under the loss-threshold attack (Yeom et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model import metrics
from model.data.example import Example, Examples
from model.encoders.text import build_lexicon
from model.predict_files import predict_examples
from model.predictor import FusionModel
from research.privacy.dp_sgd import PrivacySpent, PrivateRecipe, encode_rows, initialize_heads
from research.privacy.fit import fit_private, private_config


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


@dataclass(frozen=True, slots=True)
class PrivacyComparison:
    """One training: the privacy spent (None without privacy), test accuracy and membership attack by severity."""

    spent: PrivacySpent | None
    accuracy: dict[str, float]
    attacks: dict[str, AttackResult]


def compare_epsilons(
    data: Examples,
    vectors: Path,
    epsilons: Sequence[float | None],
    seed: int,
    report: Callable[[str, int, float], None],
) -> list[PrivacyComparison]:
    """Train and score once per epsilon."""
    words, table = build_lexicon((), vectors, numbers=data.name == "tridigit")
    rows = encode_rows(data, initialize_heads(data, words, table.shape[1]), PrivateRecipe(None).segments)
    comparisons = []
    for epsilon in epsilons:
        recipe = PrivateRecipe(epsilon)

        def report_step(step: int, point: dict[str, float], name: str = f"epsilon {epsilon}") -> None:
            report(name, step, 0.0)

        fitted, spent = fit_private(data, vectors, recipe, seed, report_step, rows)
        config = private_config(fitted, data, recipe, spent, data.name, "1")
        model = FusionModel(fitted.network, config, fitted.words, "", torch.device("cpu"))
        accuracy: dict[str, float] = {}
        attacks: dict[str, AttackResult] = {}
        for severity in data.severities:
            test = data.samples("test", severity)
            predicted = predict_examples(model, test)[:, -1].argmax(1)
            accuracy[severity] = float((predicted == np.array([e.label for e in test])).mean())
            attacks[severity] = loss_threshold_attack(
                label_losses(model, data.samples("train", severity)), label_losses(model, test)
            )
        comparisons.append(PrivacyComparison(spent, accuracy, attacks))
    return comparisons
