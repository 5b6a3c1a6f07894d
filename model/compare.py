"""Fusions side by side: each trained with the same seeds on the same set, scored in one severity."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model import metrics
from model.answers import answers, milliseconds
from model.card import card
from model.checkpoint import SUMS, load_task, save
from model.data.degradations import Severity
from model.data.tridigit import Tridigit
from model.evaluate import missing_curve, subset_name
from model.fit import build, config_of
from model.network import TaskNetwork
from model.predictor import FusionModel
from model.recipe import TaskRecipe
from model.vocabulary import lexicon_for

Report = Callable[[str, int, Mapping[str, float]], None]


def compare(
    data: Tridigit, vectors: Path, fusions: Sequence[str], seeds: Sequence[int], severity: Severity, recipe: TaskRecipe,
    report: Report, keep: Path | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """One row for each fusion: means over the seeds of accuracy by subset, ECE, parameters and ms for a decision.

    keep: a folder in which every trained model stays as a checkpoint; one of the same recipe is not trained again.
    """
    words, table = lexicon_for(data.sentences(), vectors, numbers=True)
    out = []
    for fusion in fusions:
        found = []
        for seed in seeds:
            own = replace(recipe, fusion=fusion, seed=seed)

            def shown(what: str, number: int, point: Mapping[str, float], name: str = f"{fusion} {seed}") -> None:
                report(f"{name} {what}", number, point)

            folder = keep / fusion / str(seed) if keep else None
            kept = finished(folder, own) if folder else None
            if kept is None:
                began = time.monotonic()
                built = build(data, words, table, own, shown)
                kept = built.network, config_of(built, data, own, fusion, str(seed))
                if folder:
                    save(folder, *kept, card(kept[1], parameters_of(kept[0]), time.monotonic() - began, built.cells))
            network, config = kept
            found.append(scored(FusionModel(network, config, config["words"], "", torch.device("cpu")), data, severity))
        parameters = parameters_of(network)
        means = {name: round(float(np.mean([f[name] for f in found])), 4) for name in found[0]}
        out.append({"fusion": fusion, "parameters": parameters} | means)
    return out


def finished(folder: Path, recipe: TaskRecipe) -> tuple[TaskNetwork, dict[str, Any]] | None:
    """A kept model of this recipe. Raises CheckpointError where what is kept is broken."""
    if not (folder / SUMS).exists():
        return None
    network, config = load_task(folder)
    return (network, config) if config["recipe"] == asdict(recipe) else None


def parameters_of(network: TaskNetwork) -> int:
    """How many weights are learned."""
    return sum(p.numel() for p in network.parameters())


def scored(model: FusionModel, data: Tridigit, severity: Severity) -> dict[str, float]:
    """Accuracy by subset and at half missing, ECE of everything, ms for a decision."""
    examples = data.given("test", severity)
    rows = answers(model, examples)
    labels = np.array([e.label for e in examples], np.int64)
    found = {subset_name(model, index): metrics.accuracy(rows[:, index], labels) for index in range(1, rows.shape[1])}
    found["half_missing"] = missing_curve(examples, rows, labels)["half_missing"]
    ece = metrics.excess_ece(np.exp(rows[:, -1]), labels)
    found["ece"], found["excess_ece"] = ece.ece, ece.excess
    return found | {"ms": milliseconds(model, data.given("val", "noisy"))}
