"""From a set to a calibrated checkpoint, in int8, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from model.checkpoint import load, load_task_network, save
from model.compress import compress_model, dequantize, measure_compressed, quantize_int8
from model.evaluate import evaluate_model, present_subset
from model.fit_and_calibrate import FittedModel, checkpoint_config, fit_model
from model.fusion import FUSIONS
from model.predict_files import predict_examples
from model.recipe import TaskRecipe
from tests.unit.model.small_set import WORDS, SmallSet, network, served, table

pytestmark = pytest.mark.slow

RECIPE = TaskRecipe(fusion="gated", epochs=12, batch_size=8, seed=3, residual_epochs=1)


@pytest.fixture(scope="module")
def built() -> FittedModel:
    return fit_model(SmallSet(48), WORDS, table(), RECIPE, lambda *_: None)


def test_a_small_task_is_trained_calibrated_and_served(built: FittedModel, tmp_path: Path) -> None:
    data = SmallSet()
    save(tmp_path / "small" / "1", built.network, checkpoint_config(built, data, RECIPE, "small", "1"), "")
    model = load(tmp_path / "small" / "1", "cpu")
    reports = evaluate_model(model, data)
    assert reports["clean"]["cells"]["text+video+audio"]["accuracy"] == 1
    assert set(reports["clean"]["cells"]) == {
        "text", "video", "audio", "text+video", "text+audio", "video+audio", "text+video+audio",
    }  # fmt: skip
    assert 0 <= built.conformal <= 1
    assert float(built.network.get_buffer("subset_temperature").min()) > 0


def test_the_residual_is_enabled_only_for_subsets_it_improves(built: FittedModel) -> None:
    enabled = built.network.fusion.get_buffer("kept")
    assert set(built.gains) == set(range(1, 8))
    assert all(built.gains[index] >= 0 for index in range(1, 8) if enabled[index])


@pytest.mark.parametrize("fusion", sorted(FUSIONS))
def test_a_model_of_every_fusion_predicts_with_any_modality_absent(fusion: str, tmp_path: Path) -> None:
    model = served(tmp_path / "m", fusion)
    full = list(SmallSet().samples("test", "clean"))
    rows = predict_examples(model, full)
    without = predict_examples(model, [e.without("audio") for e in full])
    assert rows.shape == (len(full), 8, 2)
    np.testing.assert_allclose(without[:, 0b111], rows[:, 0b011], atol=1e-5)


def test_int8_weights_are_restored_closely_from_half_the_bytes() -> None:
    tensors = {name: value.contiguous() for name, value in network("concat").state_dict().items()}
    small = quantize_int8(tensors)
    assert len(save_tensors(small)) < 0.4 * len(save_tensors(tensors))
    for name, value in dequantize(load_tensors(save_tensors(small))).items():
        if value.is_floating_point():
            gap = float((value.float() - tensors[name].float()).abs().max())
            assert gap <= float(tensors[name].float().abs().max()) / 100, name


def test_missing_modalities_are_nested_and_one_always_stays() -> None:
    draw = (0.2, 0.9, 0.5)
    assert [present_subset(draw, rate) for rate in (0.0, 0.3, 0.6, 0.95, 1.0)] == [0b111, 0b110, 0b010, 0b010, 0b010]


def test_a_student_fits_its_budget_and_is_loaded_like_any_other(built: FittedModel, tmp_path: Path) -> None:
    data = SmallSet()
    config = checkpoint_config(built, data, RECIPE, "small", "1")
    save(tmp_path / "a" / "1", built.network, config, "")
    network_, reports = load_task_network(tmp_path / "a" / "1")
    full = quantize_int8(network_.state_dict())
    recipe = TaskRecipe(fusion="experts", epochs=2, batch_size=8)
    steps = compress_model(network_, reports, data, ["the low tone"], 60_000, recipe, lambda *_: None)
    assert [step.step for step in steps] == ["int8", "distilled, int8"]
    assert steps[-1].bytes <= 60_000 < len(save_tensors(full))
    save(tmp_path / "b" / "1", steps[-1].network, steps[-1].config, "", int8=True)
    small, original = load(tmp_path / "b" / "1", "cpu"), load(tmp_path / "a" / "1", "cpu")
    loaded = measure_compressed(small, original, data)
    assert 0 <= loaded["agreement"] <= 1
    assert (tmp_path / "b" / "1" / "model.safetensors").stat().st_size == steps[-1].bytes


def test_an_impossible_budget_raises_value_error(built: FittedModel) -> None:
    with pytest.raises(ValueError, match="no student"):
        compress_model(built.network, {"words": WORDS}, SmallSet(), [], 1_000, RECIPE, lambda *_: None)
