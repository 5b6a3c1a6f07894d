"""Fit a model to a set: train branches, calibrate experts, train the residual, calibrate subsets and thresholds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.calibrate import (
    draw_validation_set,
    fit_conformal_threshold,
    fit_expert_temperatures,
    fit_subset_temperatures,
    score_draws,
    select_residual_subsets,
)
from model.data.example import Examples
from model.encoders.image import SIDE
from model.fusion import FUSIONS
from model.network import TaskNetwork
from model.recipe import TaskRecipe
from model.training_loop import TrainedTask, initialize_network, train_network, train_residual

BATCH_WINDOWS = 8
WINDOW_SEGMENTS = 4
# The odd modality is named if a conflict is more likely than none.
CONFLICT_FROM = 0.5
# Event thresholds for a task model on a stream; they are conservative, because a task has no label "nothing".
EVENT_THRESHOLDS = {
    "weight": 0.35, "on": 0.6, "off": 0.3, "since": 0.5, "change_us": 1_000_000, "lead_us": 1_000_000,
    "expires_us": 10_000_000, "gap_us": 10_000_000,
}  # fmt: skip
Report = Callable[[str, int, Mapping[str, float]], None]


@dataclass(frozen=True, slots=True)
class FittedModel:
    """A trained and calibrated network; `gains` are the NLL gains of the residual by subset index."""

    network: TaskNetwork
    words: list[str]
    curve: list[dict[str, float]]
    conformal: float
    gains: dict[int, float]
    cells: dict[str, dict[str, float]] = field(default_factory=dict)


def fit_model(
    data: Examples,
    words: Sequence[str],
    table: Tensor,
    recipe: TaskRecipe,
    report: Report,
    resume: Path | None = None,
) -> FittedModel:
    """Train on a set and calibrate on corrupted draws of its validation samples.

    Args:
        data: The set.
        words: The known words.
        table: Their vectors, float32 [2 + words, vector size].
        recipe: Everything else about the training.
        report: Called with the phase, the epoch and its losses.
        resume: File that keeps the training state between epochs.
    """
    trained = initialize_network(data, words, table, recipe)
    fit_prior(trained, data)
    train_network(data, trained, recipe, lambda n, point: report("epochs", n, point), resume)
    samples = draw_validation_set(trained.network, trained.lexicon, data, recipe.segments)
    fit_expert_temperatures(trained.network, samples)
    if FUSIONS[recipe.fusion].residual:
        train_residual(data, trained, recipe, lambda n, point: report("residual", n, point))
    gains = select_residual_subsets(trained.network, samples)
    fit_subset_temperatures(trained.network, samples)
    threshold = fit_conformal_threshold(trained.network, samples)
    cells = score_draws(trained.network, samples)
    return FittedModel(trained.network, trained.lexicon.words, trained.curve, threshold, gains, cells)


def fit_prior(trained: TrainedTask, data: Examples) -> None:
    """Set the class prior from the counts of the training samples, plus one per label."""
    counts = torch.bincount(
        torch.tensor([e.label for e in data.samples("train", "clean")]), minlength=len(data.labels)
    ).float()
    trained.network.get_buffer("log_prior").copy_(torch.log((counts + 1) / (counts + 1).sum()))


def checkpoint_config(
    fitted: FittedModel, data: Examples, recipe: TaskRecipe, name: str, version: str
) -> dict[str, Any]:
    """Return the config of a checkpoint, with everything that loading and serving need."""
    return {
        "name": name,
        "version": version,
        "task": data.name,
        "labels": list(data.labels),
        "words": fitted.words,
        "vector_size": fitted.network.architecture.vector_size,
        "batch_windows": BATCH_WINDOWS,
        "segments_per_window": WINDOW_SEGMENTS,
        "segments_per_sample": recipe.segments,
        "threads": recipe.threads,
        "jpeg_side": SIDE,
        "conformal": round(fitted.conformal, 6),
        "conflict_from": CONFLICT_FROM,
        "decision": dict(EVENT_THRESHOLDS),
        "architecture": {
            "modalities": list(data.modalities),
            "fusion": fitted.network.architecture.fusion,
            "width": fitted.network.architecture.width,
            "encoders": fitted.network.architecture.encoders,
        },
        "recipe": asdict(recipe),
        "residual_gains": {str(index): gain for index, gain in fitted.gains.items()},
    }
