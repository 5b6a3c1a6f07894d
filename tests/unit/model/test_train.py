"""Training of a task is deterministic and resumable."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save as save_tensors

from model.recipe import TaskRecipe
from model.training_loop import TrainedTask, initialize_network, lag_weights, train_network, train_residual
from model.training_state import ResumeError, TrainingState, WeightAverage
from tests.unit.model.small_set import WORDS, SmallSet, table

pytestmark = pytest.mark.slow

RECIPE = TaskRecipe(fusion="mean", epochs=2, batch_size=8, seed=3, residual_epochs=1)


class Stopped(Exception):
    """An interruption of the training."""


def trained(recipe: TaskRecipe = RECIPE, resume: Path | None = None, stop_after: int = 99) -> TrainedTask:
    def report(epoch: int, point: Mapping[str, float]) -> None:
        if epoch == stop_after:
            raise Stopped

    trained_task = initialize_network(SmallSet(), WORDS, table(), recipe)
    train_network(SmallSet(), trained_task, recipe, report, resume)
    return trained_task


def digest(content: TrainedTask) -> str:
    state = {name: value.contiguous() for name, value in content.network.state_dict().items()}
    return hashlib.sha256(save_tensors(state)).hexdigest()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    assert digest(trained()) == digest(trained())
    assert digest(trained(TaskRecipe(fusion="mean", epochs=2, batch_size=8, seed=4))) != digest(trained())


def test_a_resumed_training_gives_the_same_bytes(tmp_path: Path) -> None:
    state = tmp_path / "training"
    recipe = TaskRecipe(fusion="mean", epochs=3, batch_size=8, seed=3)
    with pytest.raises(Stopped):
        trained(recipe, state, stop_after=3)
    assert state.exists()
    resumed = trained(recipe, state)
    full = trained(recipe)
    assert digest(resumed) == digest(full)
    assert [p["epoch"] for p in resumed.curve] == [1, 2, 3]


def test_an_invalid_state_or_that_of_another_recipe_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "training"
    trained(RECIPE, state)
    with pytest.raises(ResumeError, match="another recipe"):
        trained(TaskRecipe(fusion="mean", epochs=3), state)
    state.write_bytes(b"no state")
    with pytest.raises(ResumeError):
        trained(RECIPE, state)


def test_every_branch_has_a_loss_and_it_falls() -> None:
    trained_task = trained(TaskRecipe(fusion="mean", epochs=6, batch_size=8, seed=3))
    assert {"text", "video", "audio", "fused", "distilled", "val_nll"} <= trained_task.curve[0].keys()
    assert trained_task.curve[-1]["fused"] < trained_task.curve[0]["fused"]


def test_a_lagging_branch_has_more_weight() -> None:
    weights = lag_weights({"text": 0.1, "video": 1.0, "audio": 4.0})
    assert weights["text"] == 0.5
    assert weights["text"] < weights["video"] < weights["audio"] == 2.0


def test_the_residual_trains_on_frozen_branches() -> None:
    recipe = TaskRecipe(fusion="gated", epochs=1, batch_size=8, seed=3, residual_epochs=2)
    trained_task = trained(recipe)
    before = {name: value.clone() for name, value in trained_task.network.state_dict().items()}
    assert float(trained_task.network.state_dict()["fusion.gate"]) == 0
    train_residual(SmallSet(), trained_task, recipe, lambda *_: None)
    after = trained_task.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("fusion.") for name in changed)


def test_each_branch_keeps_its_best_weights() -> None:
    network = initialize_network(SmallSet(), WORDS, table(), TaskRecipe(fusion="experts")).network
    optimiser = torch.optim.AdamW(network.parameters())
    state = TrainingState(
        network, optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.1, 5), WeightAverage(network), []
    )
    for epoch, branch_nll in enumerate(({"text": 1.0, "audio": 1.0}, {"text": 2.0, "audio": 0.5})):
        state.epoch = epoch
        state.update_best_branches(
            {name: torch.full_like(v, epoch) for name, v in network.state_dict().items()}, branch_nll
        )
    assert float(state.best["heads.text.bias"][0]) == 0
    assert float(state.best["heads.audio.bias"][0]) == 1
    assert state.best_epoch == 1
    assert torch.equal(state.best["log_prior"], network.get_buffer("log_prior"))
