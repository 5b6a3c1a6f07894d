"""Compare shared encoders with separate ones on digits, sounds and intents: same batches and steps."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from torch import nn

from model import metrics
from model.data.degradations import SEVERITIES, Severity, draw_text
from model.data.example import Example
from model.data.homesound10 import Homesound10
from model.data.splits import read_jsonl
from model.data.tridigit import Tridigit
from model.fit_and_calibrate import FittedModel, checkpoint_config
from model.labels import SOUNDS
from model.predict_files import predict_examples
from model.predictor import FusionModel
from model.recipe import TaskRecipe
from research.multitask.train import Task, fit_tasks, shared_lexicon

RECIPE = TaskRecipe(fusion="experts", epochs=30, residual_epochs=0)
# Steps per epoch, such that every training row of tridigit is seen about once.
STEPS = 46
VALIDATE = (2,)
TASK_KEYS = ("task", "labels", "segments_per_sample", "conformal", "architecture")


def shipped_tasks(root: Path, test: Collection[int] = ()) -> dict[str, Task]:
    """Return the three tasks; folds of homesound10 in `test` are neither trained nor validated on."""
    digits, intents = Tridigit(root / "tridigit"), Intents(root / "tridigit")
    sounds = SoundFolds(Homesound10(root / "homesound10"), VALIDATE, test)
    return {
        digits.name: Task(digits, digits.sentences(), 32, 4),
        sounds.name: Task(sounds, sounds.sentences(), 16, 8),
        intents.name: Task(intents, intents.sentences(), 32, 4),
    }


def multitask_config(
    models: Mapping[str, FittedModel], tasks: Mapping[str, Task], recipe: TaskRecipe, name: str, version: str
) -> dict[str, Any]:
    """Return the config of one checkpoint for all tasks; what differs between tasks is under `tasks`."""
    configs: dict[str, dict[str, Any]] = {}
    for task, fitted in models.items():
        task_config = checkpoint_config(fitted, tasks[task].data, recipe, name, version) | {
            "segments_per_sample": tasks[task].segments
        }
        configs[task] = task_config | {"task": task}
    common = {k: v for k, v in next(iter(configs.values())).items() if k not in TASK_KEYS and k != "residual_gains"}
    by_task = {task: {k: task_config[k] for k in TASK_KEYS} for task, task_config in configs.items()}
    return common | {"tasks": by_task, "recipe": asdict(recipe)}


class SoundFolds:
    """Folds to validate on and folds to test on; the others train. Clips of one recording are in the same fold."""

    name = "homesound10"
    labels = SOUNDS
    modalities = ("text", "audio")
    severities: tuple[Severity, ...] = ("clean",)

    def __init__(self, data: Homesound10, validate: Collection[int], test: Collection[int]) -> None:
        if set(validate) & set(test):
            raise ValueError("a fold either validates or tests")
        self._train = data.hold_out({*validate, *test})
        self._parts = {"val": data.hold_out(validate), "test": data.hold_out(test)}

    def epoch(self, rng: Generator, ease: float = 0.0) -> list[Example]:
        """Draw the training clips as homesound10 does."""
        return self._train.epoch(rng, ease)

    def drawn(self, severity: Severity, rng: Generator) -> list[Example]:
        """Return the validation clips as they are: their corruption is unknown."""
        return self.samples("val", severity)

    def samples(self, part: str, severity: Severity) -> list[Example]:
        """Return the clips of a split."""
        if part == "train":
            return self._train.samples("train", severity)
        return self._parts[part].samples("test", severity)

    def sentences(self) -> list[str]:
        """Return the training titles."""
        return self._train.sentences()


INTENTS = ("BookRestaurant", "GetWeather", "RateBook", "SearchScreeningEvent")


class Intents:
    """The sentences with the splits and severities of tridigit; images and audio carry no intent."""

    name = "intent"
    labels = INTENTS
    modalities = ("text",)
    severities = SEVERITIES

    def __init__(self, folder: Path) -> None:
        self._rows: dict[str, list[dict[str, Any]]] = {"train": [], "val": [], "test": []}
        for row in read_jsonl(folder / "manifest.jsonl"):
            self._rows[row["split"]].append(row)

    def epoch(self, rng: Generator, ease: float = 0.0) -> list[Example]:
        """Draw each training sentence once, in random order, severity and corruption."""
        order = rng.permutation(len(self._rows["train"]))
        return [_drawn(self._rows["train"][i], SEVERITIES[int(rng.integers(len(SEVERITIES)))], rng) for i in order]

    def drawn(self, severity: Severity, rng: Generator) -> list[Example]:
        """Draw the validation sentences with random corruption."""
        return [_drawn(row, severity, rng) for row in self._rows["val"]]

    def samples(self, part: str, severity: Severity) -> list[Example]:
        """Return the sentences of a split as the manifest degrades them."""
        return [
            _example(row, row["text"] if severity == "clean" else row[severity]["text"]) for row in self._rows[part]
        ]

    def sentences(self) -> list[str]:
        """Return the training sentences, to choose words from."""
        return [row["text"] for row in self._rows["train"]]


def _drawn(row: dict[str, Any], severity: Severity, rng: Generator) -> Example:
    return _example(row, draw_text(row["text"], row["digit"], severity, rng))


def _example(row: dict[str, Any], text: str) -> Example:
    return Example(row["id"], INTENTS.index(row["intent"]), text, draw=(row["miss_u"][0],))


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
