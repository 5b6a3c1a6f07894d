"""Predictions for a manifest: one result per line, in order, also for files that cannot be read."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from PIL import Image

from model.predict_files import predict_manifest
from model.predictor import FusionModel
from model.sample_manifest import ManifestError
from services.cli import main
from tests.unit.model.small_set import LABELS, served


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FusionModel:
    return served(tmp_path_factory.mktemp("small") / "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for name, size in (("small.png", (31, 47)), ("large.jpg", (600, 200))):
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / name)
    for rate in (8_000, 11_025, 16_000, 44_100):
        sound(tmp_path / f"{rate}.wav", rng.normal(0, 0.1, rate).astype(np.float32), rate)
    sound(tmp_path / "empty.wav", np.zeros(0, np.float32), 8_000)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n no image")
    return tmp_path


def sound(path: Path, samples: NDArray[np.float32], rate: int) -> None:
    soundfile.write(path, samples, rate, subtype="PCM_16")


def results_of(folder: Path, model: FusionModel, *rows: Any) -> list[dict[str, Any]]:
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return list(predict_manifest(manifest, lambda task: model if task == "small" else f"no model for {task}"))


def row(name: str = "a", **fields: Any) -> dict[str, Any]:
    return {"id": name, "task": "small", "text": None, "image": None, "audio": None} | fields


def test_a_prediction_has_a_label_and_probabilities_that_sum_to_one(folder: Path, model: FusionModel) -> None:
    (result,) = results_of(
        folder, model, row(text="the high tone", image="large.jpg", audio="8000.wav", later="ignored")
    )
    assert set(result["probs"]) == set(LABELS)
    assert sum(result["probs"].values()) == pytest.approx(1, abs=1e-6)
    assert result["label"] == max(result["probs"], key=result["probs"].__getitem__)
    assert 0 <= result["conflict"] <= 1
    assert result["odd"] in ("text", "video", "audio", None)
    assert isinstance(result["abstained"], bool)


def test_audio_of_any_rate_and_images_of_any_size_are_read(folder: Path, model: FusionModel) -> None:
    rows = [row(f"r{rate}", audio=f"{rate}.wav") for rate in (8_000, 11_025, 16_000, 44_100)]
    rows += [row(f"p{n}", image=n) for n in ("small.png", "large.jpg")]
    assert all("label" in result for result in results_of(folder, model, *rows))


def test_dropped_null_missing_and_empty_inputs_are_absent(folder: Path, model: FusionModel) -> None:
    result = results_of(
        folder, model, row(text="the low tone"), row(text="the low tone", image="broken.png", drop=["video"]),
        {"id": "a", "task": "small", "text": "the low tone"}, row(text="the low tone", audio="empty.wav"),
        row(text="the low tone", audio="8000.wav", drop=["audio"]),
    )  # fmt: skip
    assert all(t == result[0] for t in result)


def test_a_sample_without_inputs_gets_the_prior(folder: Path, model: FusionModel) -> None:
    (result,) = results_of(folder, model, row())
    assert sum(result["probs"].values()) == pytest.approx(1, abs=1e-6)
    assert result["conflict"] == 0


def test_an_unreadable_row_is_reported_in_its_place(folder: Path, model: FusionModel) -> None:
    result = results_of(
        folder, model, row("1", text="the low tone"), row("2", image="broken.png"), row("3", image="nowhere.png"),
        row("4", text=7), row("5", task="other"), "{", "[]", row("8", drop="text"), row("9", audio="broken.png"),
        row("10", image="."), row("11", image="\0"), row("12", text="the low tone"),
    )  # fmt: skip
    assert [t["id"] for t in result] == ["1", "2", "3", "4", "5", None, None, "8", "9", "10", "11", "12"]
    assert ["error" in t for t in result] == [False, *[True] * 10, False]
    assert result[0]["probs"] == result[-1]["probs"]


def test_a_prediction_does_not_depend_on_other_rows(folder: Path, model: FusionModel) -> None:
    item = row(text="the low tone", audio="16000.wav")
    (alone,) = results_of(folder, model, item)
    among = results_of(folder, model, *[row(f"{n}", text=f"the tone {n}") for n in range(70)], item)
    assert among[-1] == alone
    assert len(among) == 71


def test_a_missing_manifest_raises_manifest_error(folder: Path, model: FusionModel) -> None:
    with pytest.raises(ManifestError):
        list(predict_manifest(folder / "nowhere.jsonl", lambda _: model))


def test_the_exit_code_is_0_for_bad_samples_and_2_for_a_bad_manifest(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    served(tmp_path / "small" / "1")
    manifest, results_file = folder / "manifest.jsonl", folder / "out.jsonl"
    manifest.write_text(json.dumps(row(image="broken.png")) + "\n" + json.dumps(row("b", text="high")) + "\n")

    def run(path: Path) -> object:
        call = [
            "braid",
            "predict-batch",
            str(tmp_path / "small" / "1"),
            "--manifest",
            str(path),
            "--out",
            str(results_file),
        ]
        monkeypatch.setattr(sys, "argv", [*call, "--device", "cpu"])
        with pytest.raises(SystemExit) as ended:
            main.main()
        return ended.value.code

    assert run(manifest) == 0
    result = [json.loads(line) for line in results_file.read_text().splitlines()]
    assert [t["id"] for t in result] == ["a", "b"]
    assert "error" in result[0]
    assert run(folder / "nowhere.jsonl") == 2
