"""The tasks over the shipped sets: digits, sounds and intents."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.data.homesound10 import Homesound10
from model.data.intents import Intents
from model.data.tridigit import Tridigit
from model.fit import FittedModel, checkpoint_config
from model.recipe import TaskRecipe
from research.multitask.sound_folds import SoundFolds
from research.multitask.train import Task

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
