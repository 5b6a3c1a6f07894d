"""A user's own manifest: it is enough to train, and mistakes are reported by row."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from model.checkpoint import load
from model.data.manifest_set import ManifestSet
from model.predict_files import predict_examples
from model.sample_manifest import ManifestError
from services.cli import main
from tests.unit.model.small_set import LABELS, sample


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    rows = []
    for number in range(40):
        rows_made = sample(number % 2, rng)
        assert rows_made.audio is not None
        soundfile.write(tmp_path / f"{number}.wav", rows_made.audio, 8_000)
        rows.append({"text": rows_made.text, "audio": f"{number}.wav", "label": LABELS[rows_made.label]})
    return written(tmp_path / "own.jsonl", rows)


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_manifest_gives_labels_modalities_and_two_splits(manifest: Path) -> None:
    data = ManifestSet(manifest)
    assert data.labels == ("high", "low")
    assert data.modalities == ("text", "audio")
    train, val = data.samples("train", "clean"), data.samples("val", "clean")
    assert len(train) + len(val) == 40
    assert min(len(train), len(val)) > 2


def test_the_split_of_a_row_is_used(tmp_path: Path) -> None:
    rows = [{"text": "x", "label": f"l{n % 2}", "split": ("train", "val", "test")[n % 3]} for n in range(12)]
    data = ManifestSet(written(tmp_path / "own.jsonl", rows))
    assert [len(data.samples(part, "clean")) for part in ("train", "val", "test")] == [4, 4, 4]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"text": "x"}, "row 3: no label"),
        ({"text": "x", "label": 3}, "row 3: no label"),
        ({"text": 5, "label": "a"}, "row 3: text"),
        ({"audio": "nowhere.wav", "label": "a"}, "row 3: audio"),
        ({"text": "x", "label": "a", "split": "later"}, "row 3: split"),
        ([], "row 3: not a JSON object"),
    ],
)
def test_an_unusable_row_is_named(tmp_path: Path, row: Any, message: str) -> None:
    rows = [{"text": "x", "label": "a"}, {"text": "y", "label": "b"}, row]
    with pytest.raises(ManifestError, match=message):
        ManifestSet(written(tmp_path / "own.jsonl", rows))


def test_one_label_alone_cannot_be_learned(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="1 labels"):
        ManifestSet(written(tmp_path / "own.jsonl", [{"text": "x", "label": "a"}]))


def test_one_command_trains_on_a_manifest(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "models" / "mine" / "1"
    call = ["braid", "train", "--data", str(manifest), "--out", str(folder), "--fusion", "experts"]
    monkeypatch.setattr(sys, "argv", [*call, "--epochs", "10", "--batch-size", "8", "--json"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 0
    model = load(folder, "cpu")
    test = ManifestSet(manifest).samples("train", "clean")
    right = [rows[-1].argmax() == e.label for rows, e in zip(predict_examples(model, test), test, strict=True)]
    assert np.mean(right) > 0.9
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")
    assert "own" in (folder / "card.md").read_text()
