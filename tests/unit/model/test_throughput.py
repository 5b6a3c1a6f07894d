"""The throughput benchmark runs on a CPU, too."""

from __future__ import annotations

import json

import pytest
import torch
from typer.testing import CliRunner

from model.throughput import select_device
from services.cli.main import app


def test_the_benchmark_measures_every_mode_at_every_batch_size() -> None:
    result = CliRunner().invoke(app, ["bench", "gpu", "--device", "cpu", "--quick", "--seconds", "0.01", "--json"])
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert {(row["way"], row["batch"]) for row in report["rows"]} == {
        (mode, batch) for mode in ("eager", "cached encoders") for batch in (1, 2)
    }
    assert all(row["windows_per_s"] > 0 and row["mfu"] > 0 and row["p50_ms"] <= row["p99_ms"] for row in report["rows"])
    assert report["cached_gflop"] < report["gflop"]
    assert report["differs"] == 0


def test_a_missing_device_is_refused_with_a_suggestion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="leave --device out"):
        select_device("cuda")
    assert select_device("auto").type == "cpu"
