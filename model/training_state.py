"""Training state between two epochs: save, resume, average the weights, and make runs repeatable on one machine."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from model.recipe import TaskRecipe
from services.contract.user_errors import BraidError


def make_deterministic(threads: int) -> None:
    """Use only operations with a fixed order of summation, on `threads` threads, in this process."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Filling uninitialized memory only helps to find faults of operators, and takes a seventh of the training time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


DECAY = 0.995


class WeightAverage:
    """A running average of a network's state (Polyak and Juditsky 1992); young averages forget faster."""

    def __init__(self, network: nn.Module) -> None:
        self.state: dict[str, Tensor] = {name: value.clone() for name, value in network.state_dict().items()}
        self.steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Add the network's current weights."""
        self.steps += 1
        decay = min(DECAY, self.steps / (self.steps + 20))
        for name, value in network.state_dict().items():
            if value.dtype == torch.float32:
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)


class ResumeError(BraidError):
    """A saved state that belongs to another recipe or network, or cannot be read."""


class TrainingState:
    """Weights, optimiser, schedule, average, best weights so far and curve."""

    def __init__(
        self,
        network: nn.Module,
        optimiser: torch.optim.Optimizer,
        schedule: torch.optim.lr_scheduler.LRScheduler,
        average: WeightAverage,
        curve: list[dict[str, float]],
    ) -> None:
        self.network, self.optimiser, self.schedule, self.average = network, optimiser, schedule, average
        self.curve = curve
        self.epoch = self.best_epoch = 0
        self.best_nll = float("inf")
        self.best: dict[str, Tensor] = {name: value.clone() for name, value in average.state.items()}
        self.best_branch_nll: dict[str, float] = {}
        self.loss_weights: dict[str, float] = {}

    def update_best(self, state: dict[str, Tensor], nll: float) -> None:
        """Keep a state if it is the best so far."""
        if nll < self.best_nll:
            self.best = {name: value.clone() for name, value in state.items()}
            self.best_nll, self.best_epoch = nll, self.epoch

    def update_best_branches(self, state: dict[str, Tensor], branch_nll: dict[str, float]) -> None:
        """Keep each branch's part of a state if it is the best so far: branches that share nothing stop independently."""
        for modality, nll in branch_nll.items():
            if nll < self.best_branch_nll.get(modality, float("inf")):
                self.best_branch_nll[modality], self.best_epoch = nll, self.epoch
                for name, value in state.items():
                    if f".{modality}." in name:
                        self.best[name] = value.clone()

    def save(self, path: Path, recipe: TaskRecipe) -> None:
        """Write the state to a file atomically."""
        optimiser = self.optimiser.state_dict()
        groups: dict[str, dict[str, Tensor]] = {
            "network": self.network.state_dict(),
            "average": self.average.state,
            "best": self.best,
            "optimiser": {f"{n}.{name}": v for n, own in optimiser["state"].items() for name, v in own.items()},
        }
        numbers = {
            "recipe": asdict(recipe),
            "groups": optimiser["param_groups"],
            "schedule": self.schedule.state_dict(),
            "average_steps": self.average.steps,
            "epoch": self.epoch,
            "best_epoch": self.best_epoch,
            "best_nll": self.best_nll,
            "best_own": self.best_branch_nll,
            "weights": self.loss_weights,
            "curve": self.curve,
        }
        tensors = {f"{group}/{name}": v.contiguous() for group, values in groups.items() for name, v in values.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, path.with_suffix(".new"), {"numbers": json.dumps(numbers)})
        os.replace(path.with_suffix(".new"), path)

    def restore(self, path: Path, recipe: TaskRecipe) -> None:
        """Restore the state from a file if it exists.

        Raises:
            ResumeError: If the file belongs to another recipe or network, or cannot be read.
        """
        if not path.exists():
            return
        try:
            with safe_open(path, "pt") as file:
                numbers: dict[str, Any] = json.loads(file.metadata()["numbers"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ResumeError(f"{path} cannot be read ({type(error).__name__}): delete it to start again") from error
        if numbers["recipe"] != json.loads(json.dumps(asdict(recipe))):
            raise ResumeError(f"{path} belongs to a training with another recipe: delete it, or use that recipe")
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "average": {}, "best": {}, "optimiser": {}}
        for name, value in tensors.items():
            group, _, rest = name.partition("/")
            groups[group][rest] = value
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in groups["optimiser"].items():
            number, _, rest = name.partition(".")
            state.setdefault(int(number), {})[rest] = value
        try:
            self.network.load_state_dict(groups["network"])
        except RuntimeError as error:
            raise ResumeError(f"{path} belongs to another network: delete it to start again") from error
        self.optimiser.load_state_dict({"state": state, "param_groups": numbers["groups"]})
        self.schedule.load_state_dict(numbers["schedule"])
        self.average.state, self.average.steps = groups["average"], numbers["average_steps"]
        self.best, self.loss_weights, self.best_branch_nll = groups["best"], numbers["weights"], numbers["best_own"]
        self.epoch, self.best_epoch, self.best_nll = numbers["epoch"], numbers["best_epoch"], numbers["best_nll"]
        self.curve[:] = numbers["curve"]
