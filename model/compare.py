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
from model.card import render_card
from model.checkpoint import CHECKSUMS, load_task_network, save
from model.data.degradations import Severity
from model.data.tridigit import Tridigit
from model.evaluate import missing_modality_curve, subset_name
from model.fit import checkpoint_config, fit_model
from model.network import TaskNetwork
from model.predict_examples import median_latency_ms, predict_examples
from model.predictor import FusionModel
from model.recipe import TaskRecipe
from model.vocabulary import build_lexicon

Report = Callable[[str, int, Mapping[str, float]], None]


def compare_fusions(
    data: Tridigit, vectors: Path, fusions: Sequence[str], seeds: Sequence[int], severity: Severity, recipe: TaskRecipe,
    report: Report, checkpoints: Path | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """One row for each fusion: means over the seeds of accuracy by subset, ECE, parameters and ms for a decision.

    keep: a folder in which every trained model stays as a checkpoint; one of the same recipe is not trained again.
    """
    words, table = build_lexicon(data.sentences(), vectors, numbers=True)
    comparison = []
    for fusion in fusions:
        scores = []
        for seed in seeds:
            seed_recipe = replace(recipe, fusion=fusion, seed=seed)

            def report_run(what: str, number: int, point: Mapping[str, float], name: str = f"{fusion} {seed}") -> None:
                report(f"{name} {what}", number, point)

            folder = checkpoints / fusion / str(seed) if checkpoints else None
            trained = load_finished(folder, seed_recipe) if folder else None
            if trained is None:
                start_s = time.monotonic()
                fitted = fit_model(data, words, table, seed_recipe, report_run)
                trained = fitted.network, checkpoint_config(fitted, data, seed_recipe, fusion, str(seed))
                if folder:
                    save(
                        folder,
                        *trained,
                        render_card(trained[1], count_parameters(trained[0]), time.monotonic() - start_s, fitted.cells),
                    )
            network, config = trained
            scores.append(
                score_model(FusionModel(network, config, config["words"], "", torch.device("cpu")), data, severity)
            )
        parameters = count_parameters(network)
        means = {name: round(float(np.mean([f[name] for f in scores])), 4) for name in scores[0]}
        comparison.append({"fusion": fusion, "parameters": parameters} | means)
    return comparison


def load_finished(folder: Path, recipe: TaskRecipe) -> tuple[TaskNetwork, dict[str, Any]] | None:
    """A kept model of this recipe. Raises CheckpointError where what is kept is broken."""
    if not (folder / CHECKSUMS).exists():
        return None
    network, config = load_task_network(folder)
    return (network, config) if config["recipe"] == asdict(recipe) else None


def count_parameters(network: TaskNetwork) -> int:
    """How many weights are learned."""
    return sum(p.numel() for p in network.parameters())


def score_model(model: FusionModel, data: Tridigit, severity: Severity) -> dict[str, float]:
    """Accuracy by subset and at half missing, ECE of everything, ms for a decision."""
    examples = data.samples("test", severity)
    rows = predict_examples(model, examples)
    labels = np.array([e.label for e in examples], np.int64)
    scores = {subset_name(model, index): metrics.accuracy(rows[:, index], labels) for index in range(1, rows.shape[1])}
    scores["half_missing"] = missing_modality_curve(examples, rows, labels)["half_missing"]
    ece = metrics.excess_ece(np.exp(rows[:, -1]), labels)
    scores["ece"], scores["excess_ece"] = ece.ece, ece.excess
    return scores | {"ms": median_latency_ms(model, data.samples("val", "noisy"))}
