"""Predict the samples of a manifest, one result per line; unreadable rows are reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.data.example import Example
from model.explain import explain_window
from model.labels import DIGITS, SOUNDS
from model.manifest import FIELDS, UnreadableRow, read_example, read_rows
from model.predict_examples import encode_examples
from model.predictor import FusionModel

# Samples in memory at a time.
PART_ROWS = 64
DECIMALS = 8
TASK_LABELS: Mapping[str, tuple[str, ...]] = {"tridigit": DIGITS, "homesound10": SOUNDS}
ModelFor = Callable[[str], FusionModel | str]


def predict_manifest(manifest: Path, model_for: ModelFor) -> Iterator[dict[str, Any]]:
    """Yield one result per line, in order.

    Args:
        manifest: The manifest.
        model_for: Returns the model of a task, or a sentence why there is none.

    Raises:
        ManifestError: If the manifest cannot be read.
    """
    rows = iter(read_rows(manifest))
    while part := list(islice(rows, PART_ROWS)):
        yield from _predict_part(part, manifest.parent, model_for)


def _predict_part(
    part: Iterable[dict[str, Any] | UnreadableRow], root: Path, model_for: ModelFor
) -> Iterator[dict[str, Any]]:
    predictions: list[dict[str, Any]] = []
    waiting: dict[str, list[tuple[int, Any, Example]]] = {}
    for row in part:
        sample = row if isinstance(row, UnreadableRow) else _read_sample(row, root, model_for)
        if isinstance(sample, UnreadableRow):
            predictions.append({"id": sample.id, "error": sample.error})
        else:
            assert isinstance(row, dict)
            waiting.setdefault(row["task"], []).append((len(predictions), row.get("id"), sample))
            predictions.append({})
    for task, samples in waiting.items():
        model = model_for(task)
        assert isinstance(model, FusionModel)
        windows = encode_examples(model, [example for _, _, example in samples])
        for (place, name, _), window, rows in zip(samples, windows, model.fuse(windows), strict=True):
            predictions[place] = {"id": name} | prediction_row(model, task, rows, window.present)
    yield from predictions


def prediction_row(model: FusionModel, task: str, rows: NDArray[np.float64], present: frozenset[str]) -> dict[str, Any]:
    """Return the result of one sample: probabilities of the task's labels alone, conflict, abstention, contributions."""
    labels = TASK_LABELS.get(task, model.labels)
    task_rows = rows[:, [model.labels.index(label) for label in labels]]
    task_rows = task_rows - np.log(np.exp(task_rows).sum(1, keepdims=True))
    explanation = explain_window(task_rows, present, model.modalities, labels, model.conflict_from, model.conformal)
    everything = sum(1 << i for i, m in enumerate(model.modalities) if m in present)
    probabilities = np.exp(task_rows[everything])
    return {
        "label": explanation.label,
        "probs": {
            label: round(float(p), DECIMALS)
            for label, p in zip(labels, probabilities / probabilities.sum(), strict=True)
        },
        "conflict": round(explanation.conflict, DECIMALS),
        "odd": explanation.odd,
        "abstained": explanation.abstained,
        "contributions": {m: round(value, DECIMALS) for m, value in explanation.contributions.items()},
    }


def _read_sample(row: dict[str, Any], root: Path, model_for: ModelFor) -> Example | UnreadableRow:
    task = row.get("task")
    if not isinstance(task, str):
        return UnreadableRow(row.get("id"), "the row names no task")
    model = model_for(task)
    if isinstance(model, str):
        return UnreadableRow(row.get("id"), model)
    missing = set(TASK_LABELS.get(task, ())) - set(model.labels)
    if missing:
        return UnreadableRow(row.get("id"), f"the model {model.name} does not know the labels of {task}")
    return read_example({k: v for k, v in row.items() if k not in _unknown_fields(model)}, root)


def _unknown_fields(model: FusionModel) -> frozenset[str]:
    """Return the fields of modalities that the model does not have: their files are not opened."""
    return frozenset(f for m, names in FIELDS.items() if m not in model.modalities for f in names)
