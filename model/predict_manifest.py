"""Answers for a manifest of samples, one line each, whatever cannot be read among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.answers import features
from model.data.example import Example
from model.explain import explain
from model.labels import DIGITS, SOUNDS
from model.manifest import FIELDS, Unreadable, example_of, lines
from model.predictor import FusionModel

# Samples that are decoded and held at a time.
AT_ONCE = 64
PLACES = 8
TASK_LABELS: Mapping[str, tuple[str, ...]] = {"tridigit": DIGITS, "homesound10": SOUNDS}
ModelFor = Callable[[str], FusionModel | str]


def predict_manifest(manifest: Path, model_for: ModelFor) -> Iterator[dict[str, Any]]:
    """One answer for each line, in order; model_for gives a task's model, or a sentence why there is none.

    Raises ManifestError where the manifest cannot be read.
    """
    rows = iter(lines(manifest))
    while part := list(islice(rows, AT_ONCE)):
        yield from _part(part, manifest.parent, model_for)


def _part(part: Iterable[dict[str, Any] | Unreadable], root: Path, model_for: ModelFor) -> Iterator[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    waiting: dict[str, list[tuple[int, Any, Example]]] = {}
    for row in part:
        read = row if isinstance(row, Unreadable) else _sample(row, root, model_for)
        if isinstance(read, Unreadable):
            out.append({"id": read.id, "error": read.error})
        else:
            assert isinstance(row, dict)
            waiting.setdefault(row["task"], []).append((len(out), row.get("id"), read))
            out.append({})
    for task, samples in waiting.items():
        model = model_for(task)
        assert isinstance(model, FusionModel)
        seen = features(model, [example for _, _, example in samples])
        for (place, name, _), window, rows in zip(samples, seen, model.fuse(seen), strict=True):
            out[place] = {"id": name} | answer(model, task, rows, window.present)
    yield from out


def answer(model: FusionModel, task: str, rows: NDArray[np.float64], present: frozenset[str]) -> dict[str, Any]:
    """What a model says of one sample of a task: probabilities of the task's labels alone, conflict, abstention."""
    labels = TASK_LABELS.get(task, model.labels)
    own = rows[:, [model.labels.index(label) for label in labels]]
    own = own - np.log(np.exp(own).sum(1, keepdims=True))
    told = explain(own, present, model.modalities, labels, model.conflict_from, model.conformal)
    everything = sum(1 << i for i, m in enumerate(model.modalities) if m in present)
    stated = np.exp(own[everything])
    return {
        "label": told.label,
        "probs": {label: round(float(p), PLACES) for label, p in zip(labels, stated / stated.sum(), strict=True)},
        "conflict": round(told.conflict, PLACES),
        "odd": told.odd,
        "abstained": told.abstained,
        "contributions": {m: round(value, PLACES) for m, value in told.contributions.items()},
    }


def _sample(row: dict[str, Any], root: Path, model_for: ModelFor) -> Example | Unreadable:
    task = row.get("task")
    if not isinstance(task, str):
        return Unreadable(row.get("id"), "no task is named")
    model = model_for(task)
    if isinstance(model, str):
        return Unreadable(row.get("id"), model)
    missing = set(TASK_LABELS.get(task, ())) - set(model.labels)
    if missing:
        return Unreadable(row.get("id"), f"the model {model.name} does not know the labels of {task}")
    return example_of({k: v for k, v in row.items() if k not in _unknown(model)}, root)


def _unknown(model: FusionModel) -> frozenset[str]:
    """Fields of modalities that the model does not know: their files are not opened."""
    return frozenset(f for m, names in FIELDS.items() if m not in model.modalities for f in names)
