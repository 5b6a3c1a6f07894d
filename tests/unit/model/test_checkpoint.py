"""Checkpoints: a loaded model equals the saved one, and a changed file is rejected with a reason."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from model.checkpoint import load, save
from model.checkpoint_files import CARD, CHECKSUMS, CONFIG, WEIGHTS, CheckpointError, model_digest, verify
from model.predictor import WindowFeatures
from tests.unit.model.media import drawn, image_file
from tests.unit.model.test_decode import pixels_of
from tests.unit.model.untrained import config, model, network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "untrained" / "1", network(), config(), "# untrained\n")
    return tmp_path / "untrained" / "1"


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Replace a file and its checksum."""
    (folder / name).write_bytes(content)
    names = (WEIGHTS, CONFIG, CARD)
    sums = (f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names)
    (folder / CHECKSUMS).write_text("".join(sums))


def test_a_loaded_model_predicts_the_same_bytes_as_the_saved_one(folder: Path) -> None:
    loaded, original = load(folder, "cpu"), model()
    texts = [original.prepare("text", "turn on the kettle")]
    saved_rows, loaded_rows = original.encode("text", texts), loaded.encode("text", texts)
    assert saved_rows[0].tobytes() == loaded_rows[0].tobytes()
    (expected,) = original.fuse([WindowFeatures({"text": saved_rows})])
    (reloaded,) = loaded.fuse([WindowFeatures({"text": loaded_rows})])
    assert expected.tobytes() == reloaded.tobytes()
    assert loaded.labels == original.labels
    assert (loaded.name, loaded.version) == ("untrained", "1")


def test_the_digest_covers_weights_and_config_and_nothing_else(folder: Path, tmp_path: Path) -> None:
    digest = load(folder, "cpu").digest
    assert digest == model_digest((folder / WEIGHTS).read_bytes(), (folder / CONFIG).read_bytes())
    assert save(tmp_path / "same", network(), config(), "another card") == digest
    assert save(tmp_path / "batch", network(), config(batch_windows=16), "") != digest
    assert save(tmp_path / "threads", network(), config(threads=2), "") != digest
    assert save(tmp_path / "weights", network(seed=4), config(), "") != digest


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, CARD])
def test_one_changed_byte_is_refused_and_the_file_is_named(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        verify(folder)
    with pytest.raises(CheckpointError, match=name):
        load(folder, "cpu")


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, CARD, CHECKSUMS])
def test_a_missing_file_is_refused_with_the_command_that_creates_one(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match="braid train"):
        load(folder, "cpu")


def test_a_truncated_file_is_refused(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[:-100])
    with pytest.raises(CheckpointError, match="cut off"):
        load(folder, "cpu")


def test_an_invalid_checksum_file_is_refused(folder: Path) -> None:
    (folder / CHECKSUMS).write_bytes(b"\xff\xfe no sums here")
    with pytest.raises(CheckpointError):
        load(folder, "cpu")


class Trap:
    """An object that records when it is unpickled."""

    sprung = False

    def __reduce__(self) -> tuple[object, tuple[object, str, bool]]:
        return setattr, (Trap, "sprung", True)


def test_a_pickle_instead_of_weights_is_refused_and_not_executed(folder: Path) -> None:
    replace_file(folder, WEIGHTS, pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match="does not hold this network"):
        load(folder, "cpu")
    assert not Trap.sprung


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    save(tmp_path / "small", network(labels=3), config(), "")
    with pytest.raises(CheckpointError, match="does not hold this network"):
        load(tmp_path / "small", "cpu")
    tensors = load_tensors((folder / WEIGHTS).read_bytes())
    tensors.pop("log_prior")
    replace_file(folder, WEIGHTS, save_tensors(tensors))
    with pytest.raises(CheckpointError, match="log_prior"):
        load(folder, "cpu")


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}"])
def test_an_invalid_config_is_refused_even_if_its_checksum_is_right(folder: Path, content: bytes) -> None:
    replace_file(folder, CONFIG, content)
    with pytest.raises(CheckpointError, match=CONFIG):
        load(folder, "cpu")


def test_a_config_without_a_required_setting_is_refused_by_name(folder: Path) -> None:
    settings = json.loads((folder / CONFIG).read_text())
    del settings["batch_windows"]
    replace_file(folder, CONFIG, json.dumps(settings).encode())
    with pytest.raises(CheckpointError, match="batch_windows"):
        load(folder, "cpu")


def test_another_thread_count_is_refused(folder: Path) -> None:
    assert load(folder, "cpu", threads=1).digest
    with pytest.raises(CheckpointError, match="thread"):
        load(folder, "cpu", threads=2)


def test_cuda_without_a_device_is_refused_and_auto_selects_the_cpu(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load(folder, "auto").device.type == "cpu"
    with pytest.raises(CheckpointError, match="CUDA"):
        load(folder, "cuda")


def test_a_model_that_declares_a_smaller_jpeg_side_decodes_large_jpegs_smaller(tmp_path: Path) -> None:
    large, small = image_file(drawn().resize((640, 360))), image_file(drawn())
    older, declared = tmp_path / "older", tmp_path / "declared"
    digests = {save(older, network(), config(), ""), save(declared, network(), config(jpeg_side=64), "")}
    assert len(digests) == 2

    def decoded(folder: Path, file: bytes) -> NDArray[np.uint8]:
        return np.asarray(load(folder, "cpu").decode("video", file, "image/jpeg"))

    assert np.array_equal(decoded(older, large), pixels_of(large, 64))
    assert np.array_equal(decoded(declared, large), pixels_of(large, 64, jpeg_side=64))
    assert not np.array_equal(decoded(older, large), decoded(declared, large))
    assert np.array_equal(decoded(older, small), decoded(declared, small))
