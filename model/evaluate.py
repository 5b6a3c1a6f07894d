"""Score a served model in every cell (each subset of modalities in each severity) and under replaced modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from model import metrics
from model.data.degradations import Severity
from model.data.example import Example, Examples
from model.data.tridigit import Tridigit
from model.explain import explain_window
from model.predict_files import predict_examples
from model.predictor import FusionModel

SEED = 50_001
SYLLABLES = ("ka", "mo", "ti", "lu", "ren", "sol", "bi", "dar", "ne", "fo")


def substitute_noise(examples: Sequence[Example], modality: str) -> list[Example]:
    """Return the samples with noise in place of a modality, the same noise each time."""
    rng = np.random.default_rng(SEED)
    substituted = []
    for example in examples:
        substituted.append(example.with_values(**{modality: _noise(example, modality, rng)}))
    return substituted


def _noise(example: Example, modality: str, rng: Generator) -> Any:
    value = example.value(modality)
    if value is None:
        return None
    if modality == "text":
        return " ".join("".join(rng.choice(SYLLABLES, 3)) for _ in value.split())
    if modality == "video":
        return rng.integers(0, 256, value.shape, dtype=np.uint8)
    return rng.normal(0, 0.05, len(value)).astype(np.float32)


RATES = tuple(n / 10 for n in range(11))
HALF_INDEX = 5
Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SubsetScores:
    """Scores of one subset of modalities in one severity; `best_single` and the gaps are None for single modalities."""

    count: int
    accuracy: float
    macro_f1: float
    nll: float
    brier: float
    ece: float
    excess_ece: float
    ece_p99: float
    best_single: str | None = None
    gap: float | None = None
    gap_lower: float | None = None


@dataclass(frozen=True, slots=True)
class SplitPredictions:
    """Predictions for a split: rows by severity, and by severity and the modality that noise replaces."""

    labels: metrics.Labels
    rows: Mapping[Severity, Rows]
    replaced: Mapping[Severity, Mapping[str, Rows]]


def predict_split(model: FusionModel, data: Examples, part: str = "test") -> SplitPredictions:
    """Predict everything that is scored: rows float64 [n, 2^modalities, labels]."""
    by_severity = {severity: data.samples(part, severity) for severity in data.severities}
    return SplitPredictions(
        np.array([e.label for e in by_severity[data.severities[0]]], np.int64),
        {severity: predict_examples(model, examples) for severity, examples in by_severity.items()},
        {
            severity: {m: predict_examples(model, substitute_noise(examples, m)) for m in model.modalities}
            for severity, examples in by_severity.items()
        },
    )


def evaluate_model(
    model: FusionModel, data: Examples, part: str = "test", predictions: SplitPredictions | None = None
) -> dict[str, Any]:
    """Score a model on a split of a set; nothing is fitted here.

    Args:
        model: The model.
        data: The set.
        part: Name of the split.
        predictions: Predictions of the model, if the caller has them.
    """
    predictions = predictions or predict_split(model, data, part)
    labels = predictions.labels
    scores: dict[str, Any] = {"model": {"name": model.name, "version": model.version, "digest": model.digest}}
    scores["data"], scores["part"] = data.name, part
    for severity in data.severities:
        rows = predictions.rows[severity]
        severity_scores: dict[str, Any] = {
            "cells": {n: _rounded(c) for n, c in score_subsets(model, rows, labels).items()}
        }
        severity_scores["missing"] = missing_modality_curve(data.samples(part, severity), rows, labels)
        severity_scores["abstention"] = score_abstention(model, rows, labels)
        severity_scores["one_replaced_by_noise"] = score_noise_substitution(
            model, predictions.replaced[severity], labels
        )
        if isinstance(data, Tridigit) and part == "test":
            severity_scores["conflict"] = score_conflicts(model, data.conflicts(severity))
        scores[severity] = severity_scores
    all_cells = [c for s in data.severities for c in scores[s]["cells"].values()]
    gaps = [c["gap_lower"] for c in all_cells if c.get("gap_lower") is not None]
    scores["summary"] = {
        "mean_excess_ece": round(float(np.mean([c["excess_ece"] for c in all_cells])), 4),
        "cells_above_ece_p99": sum(c["ece"] > c["ece_p99"] for c in all_cells),
        "least_gap_lower": min(gaps, default=None),
    }
    return scores


def score_subsets(model: FusionModel, rows: Rows, labels: metrics.Labels) -> dict[str, SubsetScores]:
    """Score each non-empty subset; rows float64 [n, 2^modalities, labels] with every modality present."""
    right = np.exp(rows).argmax(2) == labels[:, None]
    scores = {}
    for index in range(1, rows.shape[1]):
        p = np.exp(rows[:, index])
        ece = metrics.excess_ece(p, labels)
        best, gap, lower = None, None, None
        singles = [i for i in range(len(model.modalities)) if index >> i & 1]
        if len(singles) > 1:
            strongest = max(singles, key=lambda i: right[:, 1 << i].mean())
            best = model.modalities[strongest]
            gap = float(right[:, index].mean() - right[:, 1 << strongest].mean())
            lower = metrics.paired_lower_bound(right[:, index], right[:, 1 << strongest])
        scores[subset_name(model, index)] = SubsetScores(
            len(labels), metrics.accuracy(p, labels), metrics.macro_f1(p, labels), metrics.nll(p, labels),
            metrics.brier(p, labels), ece.ece, ece.excess, ece.p99, best, gap, lower,
        )  # fmt: skip
    return scores


def missing_modality_curve(examples: Sequence[Example], rows: Rows, labels: metrics.Labels) -> dict[str, Any]:
    """Score accuracy at each rate of missing modalities, by the samples' own nested draws, and the area under the curve."""
    accuracies = []
    for rate in RATES:
        subsets = [present_subset(e.draw, rate) for e in examples]
        predicted = rows[np.arange(len(rows)), subsets].argmax(1)
        accuracies.append(round(float((predicted == labels).mean()), 4))
    area = float(np.trapezoid(accuracies, RATES))
    return {"rates": RATES, "accuracy": accuracies, "area": round(area, 4), "half_missing": accuracies[HALF_INDEX]}


def present_subset(draw: Sequence[float], rate: float) -> int:
    """Return the subset that is present at a missing rate, as bits: m misses if draw[m] < rate; the largest always stays."""
    subset = sum(1 << i for i, u in enumerate(draw) if u >= rate)
    return subset or 1 << int(np.argmax(draw))


def score_abstention(model: FusionModel, rows: Rows, labels: metrics.Labels) -> dict[str, float]:
    """Score the conformal sets: coverage of the true label, share of answered samples and accuracy on those."""
    p = np.exp(rows[:, -1])
    sets = p >= 1 - model.conformal
    answered = sets.sum(1) == 1
    right = p.argmax(1) == labels
    return {
        "coverage": round(float(sets[np.arange(len(labels)), labels].mean()), 4),
        "answered": round(float(answered.mean()), 4),
        "accuracy_answered": round(float(right[answered].mean()) if answered.any() else 0.0, 4),
    }


def score_noise_substitution(
    model: FusionModel, rows_by_modality: Mapping[str, Rows], labels: metrics.Labels
) -> dict[str, Any]:
    """Score all modalities with one of them replaced by noise, against the best single modality."""
    table = {}
    for modality, rows in rows_by_modality.items():
        scores = score_subsets(model, rows, labels)[subset_name(model, rows.shape[1] - 1)]
        table[modality] = {
            k: v for k, v in _rounded(scores).items() if k in ("accuracy", "best_single", "gap", "gap_lower")
        }
    return table


def score_conflicts(model: FusionModel, samples: Sequence[tuple[Example, bool, str | None]]) -> dict[str, float]:
    """Score how well the conflict score separates conflicting samples, and how often the odd modality is named."""
    rows = predict_examples(model, [example for example, _, _ in samples])
    present = frozenset(model.modalities)
    # A threshold of 0 names the odd modality in every conflict.
    explanations = [explain_window(r, present, model.modalities, model.labels, 0.0, model.conformal) for r in rows]
    inconsistent = np.array([not consistent for _, consistent, _ in samples])
    scores = np.array([e.conflict for e in explanations])
    named = [e.odd == odd for e, (_, consistent, odd) in zip(explanations, samples, strict=True) if not consistent]
    flagged = scores >= model.conflict_from
    return {
        "auroc": round(metrics.auroc(scores, inconsistent), 4),
        "odd_accuracy": round(float(np.mean(named)), 4),
        "flagged_of_conflicts": round(float(flagged[inconsistent].mean()), 4),
        "flagged_of_consistent": round(float(flagged[~inconsistent].mean()), 4),
    }


def subset_name(model: FusionModel, index: int) -> str:
    """Name a subset, such as text+audio."""
    return "+".join(m for i, m in enumerate(model.modalities) if index >> i & 1)


def _rounded(cell: SubsetScores) -> Mapping[str, Any]:
    values = asdict(cell)
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items() if v is not None}
