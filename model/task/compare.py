"""Fusions side by side: each trained with the same seeds on the same set, scored in one severity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.data.law import Severity
from model.data.tridigit import Tridigit
from model.predictor import FusionModel
from model.task import metrics
from model.task.answers import answers, milliseconds
from model.task.build import build, config_of
from model.task.evaluate import missing_curve, subset_name
from model.task.lexicon import lexicon_for
from model.task.recipe import TaskRecipe

Report = Callable[[str, int, Mapping[str, float]], None]


def compare(
    data: Tridigit, vectors: Path, fusions: Sequence[str], seeds: Sequence[int], severity: Severity, recipe: TaskRecipe,
    report: Report,
) -> list[dict[str, Any]]:  # fmt: skip
    """One row for each fusion: means over the seeds of accuracy by subset, ECE, parameters and ms for a decision."""
    words, table = lexicon_for(data.sentences(), vectors, numbers=True)
    out = []
    for fusion in fusions:
        found = []
        for seed in seeds:
            own = replace(recipe, fusion=fusion, seed=seed)

            def shown(what: str, number: int, point: Mapping[str, float], name: str = f"{fusion} {seed}") -> None:
                report(f"{name} {what}", number, point)

            built = build(data, words, table, own, shown)
            config = config_of(built, data, own, fusion, str(seed))
            model = FusionModel(built.network, config, built.words, "", torch.device("cpu"))
            found.append(scored(model, data, severity))
        parameters = sum(p.numel() for p in built.network.parameters())
        means = {name: round(float(np.mean([f[name] for f in found])), 4) for name in found[0]}
        out.append({"fusion": fusion, "parameters": parameters} | means)
    return out


def scored(model: FusionModel, data: Tridigit, severity: Severity) -> dict[str, float]:
    """Accuracy by subset and at half missing, ECE of everything, ms for a decision."""
    examples = data.given("test", severity)
    rows = answers(model, examples)
    labels = np.array([e.label for e in examples], np.int64)
    found = {subset_name(model, index): metrics.accuracy(rows[:, index], labels) for index in range(1, rows.shape[1])}
    found["half_missing"] = missing_curve(model, examples, rows, labels)["half_missing"]
    ece = metrics.excess_ece(np.exp(rows[:, -1]), labels)
    found["ece"], found["excess_ece"] = ece.ece, ece.excess
    return found | {"ms": milliseconds(model, data.given("val", "noisy"))}
