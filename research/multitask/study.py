"""Shared encoders against encoders of one's own: the same tasks, batches and steps, together and each alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from model import metrics
from model.answers import answers
from model.fit import Built
from model.predictor import FusionModel
from model.recipe import TaskRecipe
from research.multitask.shipped import STEPS, several_config
from research.multitask.train import Task, build_several, lexicon_of

Report = Callable[[str, int, float], None]


@dataclass(frozen=True, slots=True)
class Sided:
    """A task's accuracy on test by severity and subset, by the model of all tasks and by that of this task alone."""

    task: str
    severity: str
    subset: str
    together: float
    alone: float
    count: int


@dataclass(frozen=True, slots=True)
class Study:
    """All rows, and how many weights one model for everything has and how many the models of one task have together."""

    rows: list[Sided]
    parameters_together: int
    parameters_alone: int


def study(tasks: Mapping[str, Task], vectors: Path, recipe: TaskRecipe, report: Report) -> Study:
    """Train all tasks together, then each alone, with the same seed and lexicon, and score both on the test rows."""
    words, table = lexicon_of(tasks, vectors)

    def shown(what: str) -> Callable[[int, dict[str, float]], None]:
        return lambda epoch, point: report(what, epoch, sum(v for k, v in point.items() if k != "epoch"))

    together = build_several(tasks, words, table, recipe, STEPS, shown("together"))
    rows, alone_count = [], 0
    for name, task in tasks.items():
        alone = build_several({name: task}, words, table, recipe, STEPS, shown(name))
        alone_count += sum(p.numel() for p in alone[name].network.parameters())
        ours, theirs = (_scores(b, {name: task}, recipe) for b in ({name: together[name]}, alone))
        rows += [Sided(name, *cell, ours[cell], theirs[cell], count) for cell, count in _counts(task, ours).items()]
    every = nn.ModuleDict({name: built.network for name, built in together.items()})
    return Study(rows, sum(p.numel() for p in every.parameters()), alone_count)


def _counts(task: Task, cells: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], int]:
    return {cell: len(task.data.given("test", "clean")) for cell in cells}


def _scores(built: Mapping[str, Built], tasks: Mapping[str, Task], recipe: TaskRecipe) -> dict[tuple[str, str], float]:
    (name,) = built
    config = several_config(built, tasks, recipe, name, "1")
    model = FusionModel(
        built[name].network, config | config["tasks"][name], built[name].words, "", torch.device("cpu")
    )  # fmt: skip
    out: dict[tuple[str, str], float] = {}
    for severity in tasks[name].data.severities:
        examples = tasks[name].data.given("test", severity)
        rows, labels = answers(model, examples), np.array([e.label for e in examples])
        for index in range(1, rows.shape[1]):
            subset = "+".join(m for i, m in enumerate(model.modalities) if index >> i & 1)
            out[severity, subset] = round(metrics.accuracy(rows[:, index], labels), 4)
    return out
