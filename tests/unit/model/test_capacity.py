"""The capacity benchmark runs on a CPU, too, and its large model is a model like any other."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from model.predictor import FusionModel, WindowFeatures
from model.throughput import BASE, random_config, random_network, select_device
from services.cli.main import app


@pytest.fixture(scope="module")
def base() -> FusionModel:
    torch.set_num_threads(1)
    return FusionModel(random_network(BASE), random_config(2, False), [], "0" * 64, torch.device("cpu"))


def test_items_and_windows_of_the_large_model_are_the_same_to_the_last_bit_whatever_is_beside_them(
    base: FusionModel,
) -> None:
    sounds = [np.random.default_rng(n).normal(0, 0.1, 4_000).astype(np.float32) for n in range(2)]
    both = base.encode("audio", sounds)
    assert [base.encode("audio", [s])[0].tobytes() for s in sounds] == [f.tobytes() for f in both]
    (empty,) = base.encode("text", [base.prepare("text", "")])
    windows = [WindowFeatures({"audio": {0: both[0], 3: both[1]}}), WindowFeatures({"text": [empty]})]
    rows = base.fuse(windows)
    assert [base.fuse([w])[0].tobytes() for w in windows] == [r.tobytes() for r in rows]
    assert all(np.exp(r).sum(1) == pytest.approx(np.ones(8), abs=1e-5) for r in rows)
    assert not np.allclose(rows[0][7], rows[1][7])


def test_the_benchmark_tells_windows_a_second_and_the_share_of_the_matrix_rate_for_both_models() -> None:
    told = CliRunner().invoke(app, ["bench", "gpu", "--device", "cpu", "--quick", "--seconds", "0.01", "--json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    small, large = found["models"]
    assert 30e6 < large["parameters"] < 35e6
    for model in (small, large):
        assert {(row["way"], row["batch"]) for row in model["rows"]} == {
            (way, batch) for way in ("eager", "cached encoders") for batch in (1, 2)
        }
        assert all(
            row["windows_per_s"] > 0 and row["mfu"] > 0 and row["p50_ms"] <= row["p99_ms"] for row in model["rows"]
        )
        assert model["cached_gflop"] < model["gflop"]
        assert model["differs"] == 0


def test_a_device_that_is_not_there_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="leave --device out"):
        select_device("cuda")
    assert select_device("auto").type == "cpu"


def test_one_model_is_measured_alone_and_one_that_there_is_not_is_refused() -> None:
    asked = ["bench", "gpu", "--device", "cpu", "--quick", "--seconds", "0.01", "--json", "--model"]
    told = CliRunner().invoke(app, [*asked, "home"])
    assert [model["model"] for model in json.loads(told.stdout)["models"]] == ["home"]
    refused = CliRunner().invoke(app, [*asked, "large"])
    assert (refused.exit_code, "home, fusion-base or all, not large" in refused.output) == (2, True)
