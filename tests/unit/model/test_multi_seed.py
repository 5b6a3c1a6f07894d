"""Several trainings of one recipe, scored together."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from model import metrics
from model.calibrate import fit_temperature, fit_warmth
from model.checkpoint import load, save, save_state_dict
from model.compare_fusions import load_finished
from model.evaluate import evaluate_model
from model.multi_seed import evaluate_seeds
from model.predict_files import predict_examples
from model.recipe import TaskRecipe
from tests.unit.model.small_set import SmallSet, config, network


def test_one_model_twice_scores_like_once(tmp_path: Path) -> None:
    save(tmp_path / "a", network(), config(), "")
    model, data = load(tmp_path / "a", "cpu"), SmallSet()
    once, twice = evaluate_model(model, data), evaluate_seeds([model, model], data)
    assert twice["each"] == [once, once]
    assert twice["clean"]["cells"] == once["clean"]["cells"]
    assert twice["clean"]["one_replaced_by_noise"] == once["clean"]["one_replaced_by_noise"]
    assert twice["summary"]["cells_above_ece_p99"] == [once["summary"]["cells_above_ece_p99"]] * 2


def test_scores_of_two_models_are_means_and_the_best_modality_is_by_mean_accuracy(tmp_path: Path) -> None:
    for seed in (5, 6):
        save(tmp_path / str(seed), network(seed=seed), config(), "")
    models, data = [load(tmp_path / str(seed), "cpu") for seed in (5, 6)], SmallSet()
    result = evaluate_seeds(models, data)
    cells = [e["clean"]["cells"] for e in result["each"]]
    for name, cell in result["clean"]["cells"].items():
        assert cell["accuracy"] == pytest.approx(np.mean([c[name]["accuracy"] for c in cells]), abs=1e-4)
        if "+" in name:
            best = max(result["clean"]["cells"][single]["accuracy"] for single in name.split("+"))
            assert cell["gap"] == pytest.approx(cell["accuracy"] - best, abs=2e-4)
            assert cell["gap_lower"] <= cell["gap"]


def test_the_lower_bound_of_a_gap_lies_below_its_mean_by_its_error() -> None:
    gap = np.random.default_rng(0).normal(0.1, 1.0, 400)
    below = float(gap.mean()) - metrics.lower_bound(gap)
    assert below == pytest.approx(1.645 * float(gap.std()) / 20, rel=0.1)


def test_a_saved_model_of_the_same_recipe_is_not_trained_again(tmp_path: Path) -> None:
    recipe = TaskRecipe(epochs=2)
    save(tmp_path / "mean" / "1", network("mean"), config("mean", recipe=asdict(recipe)), "")
    trainings = load_finished(tmp_path / "mean" / "1", recipe)
    assert trainings is not None
    assert torch.equal(trainings[0].get_buffer("temperature"), network("mean").get_buffer("temperature"))
    assert load_finished(tmp_path / "mean" / "1", TaskRecipe(epochs=3)) is None
    assert load_finished(tmp_path / "mean" / "2", recipe) is None


def test_an_older_checkpoint_serves_with_one_temperature_per_expert(tmp_path: Path) -> None:
    state = {name: value for name, value in network("experts").state_dict().items() if name != "warmth"}
    save_state_dict(tmp_path / "old", state, config("experts"), "")
    old, data = load(tmp_path / "old", "cpu"), SmallSet()
    save(tmp_path / "new", network("experts"), config("experts"), "")
    examples = data.samples("test", "clean")
    assert np.array_equal(predict_examples(old, examples), predict_examples(load(tmp_path / "new", "cpu"), examples))


def test_temperature_follows_the_features_of_a_branch() -> None:
    drawn = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (2_000,), generator=drawn)
    harsh = (torch.rand(2_000, generator=drawn) < 0.5).float()
    logits = 4 * torch.nn.functional.one_hot(labels, 4) + torch.randn(2_000, 4, generator=drawn)
    logits += (3 * harsh[:, None]) * torch.randn(2_000, 4, generator=drawn)
    branch = torch.stack([harsh, torch.rand(2_000, generator=drawn)], 1)
    warm, warmth = fit_warmth(logits, branch, labels)
    assert warmth[0] > 0.3
    assert abs(float(warmth[1])) < 0.2
    cool = torch.nn.functional.cross_entropy(logits / fit_temperature(logits, labels), labels)
    fitted = torch.nn.functional.cross_entropy(logits / (warm * torch.exp(branch @ warmth))[:, None], labels)
    assert fitted < cool - 0.01
