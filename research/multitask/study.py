"""Compare shared encoders with separate ones: the same tasks, batches and steps, together and each alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from model import metrics
from model.fit import FittedModel
from model.predict_examples import predict_examples
from model.predictor import FusionModel
from model.recipe import TaskRecipe
from research.multitask.shipped_tasks import STEPS, multitask_config
from research.multitask.train import Task, fit_tasks, shared_lexicon

Report = Callable[[str, int, float], None]


@dataclass(frozen=True, slots=True)
class ComparisonRow:
    """Test accuracy of a task in one severity and subset, by the joint model and by the model of this task alone."""

    task: str
    severity: str
    subset: str
    together: float
    alone: float
    count: int


@dataclass(frozen=True, slots=True)
class ComparisonStudy:
    """All rows, and the parameters of the joint model and of the separate models together."""

    rows: list[ComparisonRow]
    parameters_together: int
    parameters_alone: int


def compare_shared_encoders(
    tasks: Mapping[str, Task], vectors: Path, recipe: TaskRecipe, report: Report
) -> ComparisonStudy:
    """Train all tasks together, then each alone, with the same seed and lexicon, and score both on the test rows."""
    words, table = shared_lexicon(tasks, vectors)

    def report_as(name: str) -> Callable[[int, dict[str, float]], None]:
        return lambda epoch, point: report(name, epoch, sum(v for k, v in point.items() if k != "epoch"))

    together = fit_tasks(tasks, words, table, recipe, STEPS, report_as("together"))
    rows, alone_count = [], 0
    for name, task in tasks.items():
        alone = fit_tasks({name: task}, words, table, recipe, STEPS, report_as(name))
        alone_count += sum(p.numel() for p in alone[name].network.parameters())
        shared_scores, separate_scores = (_scores(b, {name: task}, recipe) for b in ({name: together[name]}, alone))
        rows += [
            ComparisonRow(name, *cell, shared_scores[cell], separate_scores[cell], count)
            for cell, count in _counts(task, shared_scores).items()
        ]
    modules = nn.ModuleDict({name: built.network for name, built in together.items()})
    return ComparisonStudy(rows, sum(p.numel() for p in modules.parameters()), alone_count)


def _counts(task: Task, cells: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], int]:
    return {cell: len(task.data.samples("test", "clean")) for cell in cells}


def _scores(
    built: Mapping[str, FittedModel], tasks: Mapping[str, Task], recipe: TaskRecipe
) -> dict[tuple[str, str], float]:
    (name,) = built
    config = multitask_config(built, tasks, recipe, name, "1")
    model = FusionModel(
        built[name].network, config | config["tasks"][name], built[name].words, "", torch.device("cpu")
    )  # fmt: skip
    scores: dict[tuple[str, str], float] = {}
    for severity in tasks[name].data.severities:
        examples = tasks[name].data.samples("test", severity)
        rows, labels = predict_examples(model, examples), np.array([e.label for e in examples])
        for index in range(1, rows.shape[1]):
            subset = "+".join(m for i, m in enumerate(model.modalities) if index >> i & 1)
            scores[severity, subset] = round(metrics.accuracy(rows[:, index], labels), 4)
    return scores
