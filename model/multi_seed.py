"""Score several trainings of one recipe together: means, and gaps over the samples of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import metrics
from model.data.example import Examples
from model.evaluate import evaluate_model, predict_split, subset_name
from model.predictor import FusionModel

Gaps = dict[str, dict[str, Any]]
# Fields that name a model or are recomputed from all models.
UNPOOLED = ("model", "data", "part", "best_single", "gap", "gap_lower", "summary")


def evaluate_seeds(models: Sequence[FusionModel], data: Examples, part: str = "test") -> dict[str, Any]:
    """Score each model (under `each`) and all together: means, and the gap to the best modality with its lower bound.

    The best modality of a cell is the one with the best mean accuracy. The bootstrap draws samples, with the predictions of
    all models for it, because those are not independent.
    """
    predictions = [predict_split(model, data, part) for model in models]
    each = [
        evaluate_model(model, data, part, prediction) for model, prediction in zip(models, predictions, strict=True)
    ]
    pooled: dict[str, Any] = {"models": [e["model"] for e in each], "data": data.name, "part": part} | _mean(each)
    labels, first = predictions[0].labels, models[0]
    lower_bounds: list[float] = []
    noisy_lower_bounds: list[float] = []
    for severity in data.severities:
        for name, gap in _gaps(first, [k.rows[severity] for k in predictions], labels).items():
            pooled[severity]["cells"][name] |= gap
            lower_bounds.append(gap["gap_lower"])
        for m in first.modalities:
            everything = subset_name(first, (1 << len(first.modalities)) - 1)
            gap = _gaps(first, [k.replaced[severity][m] for k in predictions], labels)[everything]
            pooled[severity]["one_replaced_by_noise"][m] |= gap
            noisy_lower_bounds.append(gap["gap_lower"])
    pooled["summary"] = {
        "mean_excess_ece": round(float(np.mean([e["summary"]["mean_excess_ece"] for e in each])), 4),
        "cells_above_ece_p99": [e["summary"]["cells_above_ece_p99"] for e in each],
        "least_gap_lower": min(lower_bounds, default=None),
        "least_gap_lower_with_noise": min(noisy_lower_bounds, default=None),
    }
    return pooled | {"each": each}


def _gaps(model: FusionModel, rows: Sequence[NDArray[np.float64]], labels: metrics.Labels) -> Gaps:
    """Return fusion minus the best single modality, by subset of several modalities."""
    right = np.stack([r.argmax(2) == labels[:, None] for r in rows]).astype(np.float64).mean(0)
    gaps: Gaps = {}
    for index in range(1, right.shape[1]):
        singles = [i for i in range(len(model.modalities)) if index >> i & 1]
        if len(singles) > 1:
            best = max(singles, key=lambda i: right[:, 1 << i].mean())
            gap = right[:, index] - right[:, 1 << best]
            gaps[subset_name(model, index)] = {
                "best_single": model.modalities[best],
                "gap": round(float(gap.mean()), 4),
                "gap_lower": round(metrics.lower_bound(gap), 4),
            }
    return gaps


def _mean(values: Sequence[Any]) -> Any:
    """Average numbers at the same place of nested dicts and lists."""
    if isinstance(values[0], dict):
        return {k: _mean([f[k] for f in values]) for k in values[0] if k not in UNPOOLED}
    if isinstance(values[0], list | tuple):
        return [_mean(values) for values in zip(*values, strict=True)]
    return round(float(np.mean(values)), 4)
