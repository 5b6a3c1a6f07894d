"""Compare the same heads trained with and without privacy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from model.data.example import Examples
from model.predict_examples import predict_examples
from model.predictor import FusionModel
from model.vocabulary import build_lexicon
from research.privacy.dp_sgd import PrivacySpent, PrivateRecipe, encode_rows, initialize_heads
from research.privacy.fit import fit_private, private_config
from research.privacy.membership import AttackResult, label_losses, loss_threshold_attack


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
