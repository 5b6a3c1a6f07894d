"""The same heads trained with and without privacy, side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from model.answers import answers
from model.data.example import Examples
from model.predictor import FusionModel
from model.vocabulary import lexicon_for
from research.privacy.build import build_private, private_config
from research.privacy.membership import Attack, attack, losses
from research.privacy.sgd import PrivateRecipe, Spent, rows_of, start


@dataclass(frozen=True, slots=True)
class Compared:
    """One training: what it spent (None: no privacy), accuracy on test and the membership attack by severity."""

    spent: Spent | None
    accuracy: dict[str, float]
    attacks: dict[str, Attack]


def compared(
    data: Examples,
    vectors: Path,
    epsilons: Sequence[float | None],
    seed: int,
    report: Callable[[str, int, float], None],
) -> list[Compared]:
    """One row for each epsilon."""
    words, table = lexicon_for((), vectors, numbers=data.name == "tridigit")
    rows = rows_of(data, start(data, words, table.shape[1]), PrivateRecipe(None).segments)
    out = []
    for epsilon in epsilons:
        recipe = PrivateRecipe(epsilon)

        def shown(step: int, point: dict[str, float], name: str = f"epsilon {epsilon}") -> None:
            report(name, step, 0.0)

        built, spent = build_private(data, vectors, recipe, seed, shown, rows)
        config = private_config(built, data, recipe, spent, data.name, "1")
        model = FusionModel(built.network, config, built.words, "", torch.device("cpu"))
        accuracy: dict[str, float] = {}
        attacks: dict[str, Attack] = {}
        for severity in data.severities:
            test = data.given("test", severity)
            said = answers(model, test)[:, -1].argmax(1)
            accuracy[severity] = float((said == np.array([e.label for e in test])).mean())
            attacks[severity] = attack(losses(model, data.given("train", severity)), losses(model, test))
        out.append(Compared(spent, accuracy, attacks))
    return out
