"""Compare fusions: train each with the same seeds on the same set and score them in one severity."""

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
from model.checkpoint import load_task_network, save
from model.checkpoint_files import CHECKSUMS
from model.data.degradations import Severity
from model.data.tridigit import Tridigit
from model.encoders.text import build_lexicon
from model.evaluate import missing_modality_curve, subset_name
from model.fit_and_calibrate import checkpoint_config, fit_model
from model.network import TaskNetwork
from model.predict_files import median_latency_ms, predict_examples
from model.predictor import FusionModel
from model.recipe import TaskRecipe

Report = Callable[[str, int, Mapping[str, float]], None]


def compare_fusions(
    data: Tridigit, vectors: Path, fusions: Sequence[str], seeds: Sequence[int], severity: Severity, recipe: TaskRecipe,
    report: Report, checkpoints: Path | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Train and score each fusion; return one row per fusion with means over the seeds.

    Args:
        data: The set.
        vectors: Path of the word vectors.
        fusions: Names of fusions.
        seeds: One training per seed and fusion.
        severity: The severity of the test samples.
        recipe: Everything else about the training.
        report: Called with the name of the run, the epoch and its losses.
        checkpoints: Folder for the trained models; one trained with the same recipe is reused.
    """
    words, table = build_lexicon(data.sentences(), vectors, numbers=True)
    comparison = []
    for fusion in fusions:
        scores = []
        for seed in seeds:
            seed_recipe = replace(recipe, fusion=fusion, seed=seed)

            def report_run(phase: str, number: int, point: Mapping[str, float], name: str = f"{fusion} {seed}") -> None:
                report(f"{name} {phase}", number, point)

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
    """Load a trained model of this recipe from a folder, None if there is none.

    Raises:
        CheckpointError: If the checkpoint cannot be used.
    """
    if not (folder / CHECKSUMS).exists():
        return None
    network, config = load_task_network(folder)
    return (network, config) if config["recipe"] == asdict(recipe) else None


def count_parameters(network: TaskNetwork) -> int:
    """Count the learned weights."""
    return sum(p.numel() for p in network.parameters())


def score_model(model: FusionModel, data: Tridigit, severity: Severity) -> dict[str, float]:
    """Score accuracy by subset and at half missing, ECE of the full set, and ms per prediction."""
    examples = data.samples("test", severity)
    rows = predict_examples(model, examples)
    labels = np.array([e.label for e in examples], np.int64)
    scores = {subset_name(model, index): metrics.accuracy(rows[:, index], labels) for index in range(1, rows.shape[1])}
    scores["half_missing"] = missing_modality_curve(examples, rows, labels)["half_missing"]
    ece = metrics.excess_ece(np.exp(rows[:, -1]), labels)
    scores["ece"], scores["excess_ece"] = ece.ece, ece.excess
    return scores | {"ms": median_latency_ms(model, data.samples("val", "noisy"))}
