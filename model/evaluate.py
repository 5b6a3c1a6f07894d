"""Scores of a served model in all cells: every subset of modalities in every severity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model import metrics
from model.answers import answers
from model.data.degradations import Severity
from model.data.example import Example, Examples
from model.data.tridigit import Tridigit
from model.explain import explain
from model.noise_substitution import replaced
from model.predictor import FusionModel

RATES = tuple(n / 10 for n in range(11))
HALF = 5
Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cell:
    """One subset of modalities in one severity; best_single and the gap to it only where there are several."""

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
class Said:
    """What a model says of a part of a set: rows by severity, and by severity and modality where that one is noise."""

    labels: metrics.Labels
    rows: Mapping[Severity, Rows]
    replaced: Mapping[Severity, Mapping[str, Rows]]


def said(model: FusionModel, data: Examples, part: str = "test") -> Said:
    """Ask a model for everything that is scored, rows float64 [n, 2^modalities, labels]."""
    given = {severity: data.given(part, severity) for severity in data.severities}
    return Said(
        np.array([e.label for e in given[data.severities[0]]], np.int64),
        {severity: answers(model, examples) for severity, examples in given.items()},
        {
            severity: {m: answers(model, replaced(examples, m)) for m in model.modalities}
            for severity, examples in given.items()
        },
    )


def evaluate(model: FusionModel, data: Examples, part: str = "test", known: Said | None = None) -> dict[str, Any]:
    """All scores of a model on a part of a set; nothing is chosen here. known: what it says, where it was asked."""
    known = known or said(model, data, part)
    labels = known.labels
    found: dict[str, Any] = {"model": {"name": model.name, "version": model.version, "digest": model.digest}}
    found["data"], found["part"] = data.name, part
    for severity in data.severities:
        rows = known.rows[severity]
        own: dict[str, Any] = {"cells": {n: _short(c) for n, c in cells(model, rows, labels).items()}}
        own["missing"] = missing_curve(data.given(part, severity), rows, labels)
        own["abstention"] = abstention(model, rows, labels)
        own["one_replaced_by_noise"] = noise_table(model, known.replaced[severity], labels)
        if isinstance(data, Tridigit) and part == "test":
            own["conflict"] = conflict(model, data.conflicts(severity))
        found[severity] = own
    every = [c for s in data.severities for c in found[s]["cells"].values()]
    gaps = [c["gap_lower"] for c in every if c.get("gap_lower") is not None]
    found["summary"] = {
        "mean_excess_ece": round(float(np.mean([c["excess_ece"] for c in every])), 4),
        "cells_above_ece_p99": sum(c["ece"] > c["ece_p99"] for c in every),
        "least_gap_lower": min(gaps, default=None),
    }
    return found


def cells(model: FusionModel, rows: Rows, labels: metrics.Labels) -> dict[str, Cell]:
    """The scores of each non-empty subset; rows float64 [n, 2^modalities, labels] with everything present."""
    right = np.exp(rows).argmax(2) == labels[:, None]
    out = {}
    for index in range(1, rows.shape[1]):
        p = np.exp(rows[:, index])
        ece = metrics.excess_ece(p, labels)
        best, gap, lower = None, None, None
        singles = [i for i in range(len(model.modalities)) if index >> i & 1]
        if len(singles) > 1:
            strongest = max(singles, key=lambda i: right[:, 1 << i].mean())
            best = model.modalities[strongest]
            gap = float(right[:, index].mean() - right[:, 1 << strongest].mean())
            lower = metrics.paired_lower(right[:, index], right[:, 1 << strongest])
        out[subset_name(model, index)] = Cell(
            len(labels), metrics.accuracy(p, labels), metrics.macro_f1(p, labels), metrics.nll(p, labels),
            metrics.brier(p, labels), ece.ece, ece.excess, ece.p99, best, gap, lower,
        )  # fmt: skip
    return out


def missing_curve(examples: Sequence[Example], rows: Rows, labels: metrics.Labels) -> dict[str, Any]:
    """Accuracy at each rate of missing modalities by the samples' own nested draws, and the area under the curve."""
    found = []
    for rate in RATES:
        held = [present_at(e.draw, rate) for e in examples]
        said = rows[np.arange(len(rows)), held].argmax(1)
        found.append(round(float((said == labels).mean()), 4))
    area = float(np.trapezoid(found, RATES))
    return {"rates": RATES, "accuracy": found, "area": round(area, 4), "half_missing": found[HALF]}


def present_at(draw: Sequence[float], rate: float) -> int:
    """The subset that is there at a missing rate, as bits: m misses when draw[m] < rate; the largest always stays."""
    there = sum(1 << i for i, u in enumerate(draw) if u >= rate)
    return there or 1 << int(np.argmax(draw))


def abstention(model: FusionModel, rows: Rows, labels: metrics.Labels) -> dict[str, float]:
    """How often the conformal set holds the right label, how often one is answered, and how right the answers are."""
    p = np.exp(rows[:, -1])
    sets = p >= 1 - model.conformal
    answered = sets.sum(1) == 1
    right = p.argmax(1) == labels
    return {
        "coverage": round(float(sets[np.arange(len(labels)), labels].mean()), 4),
        "answered": round(float(answered.mean()), 4),
        "accuracy_answered": round(float(right[answered].mean()) if answered.any() else 0.0, 4),
    }


def noise_table(model: FusionModel, found: Mapping[str, Rows], labels: metrics.Labels) -> dict[str, Any]:
    """Fusion of everything with one modality replaced by noise, against the best single one that is there."""
    out = {}
    for modality, rows in found.items():
        told = cells(model, rows, labels)[subset_name(model, rows.shape[1] - 1)]
        out[modality] = {k: v for k, v in _short(told).items() if k in ("accuracy", "best_single", "gap", "gap_lower")}
    return out


def conflict(model: FusionModel, found: Sequence[tuple[Example, bool, str | None]]) -> dict[str, float]:
    """How well the conflict score tells conflicting samples, and how often the odd modality is named."""
    rows = answers(model, [example for example, _, _ in found])
    present = frozenset(model.modalities)
    # The odd one is asked for in every conflict, whatever the threshold of the score.
    told = [explain(r, present, model.modalities, model.labels, 0.0, model.conformal) for r in rows]
    inconsistent = np.array([not consistent for _, consistent, _ in found])
    scores = np.array([e.conflict for e in told])
    named = [e.odd == odd for e, (_, consistent, odd) in zip(told, found, strict=True) if not consistent]
    flagged = scores >= model.conflict_from
    return {
        "auroc": round(metrics.auroc(scores, inconsistent), 4),
        "odd_accuracy": round(float(np.mean(named)), 4),
        "flagged_of_conflicts": round(float(flagged[inconsistent].mean()), 4),
        "flagged_of_consistent": round(float(flagged[~inconsistent].mean()), 4),
    }


def subset_name(model: FusionModel, index: int) -> str:
    """text+audio and so on."""
    return "+".join(m for i, m in enumerate(model.modalities) if index >> i & 1)


def _short(cell: Cell) -> Mapping[str, Any]:
    values = asdict(cell)
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items() if v is not None}
