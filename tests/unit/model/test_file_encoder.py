"""Encoders from files: small networks in every format, made here, and the walk through docs/extend.md."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.pretrained.encoder import EncoderError
from model.pretrained.manifest import EncoderManifest, hash_file, open_encoder
from model.pretrained.sources import install_files
from services.runtime.settings import ROOT
from tests.integration.documents.blocks import blocks
from tests.unit.model.small_networks import write_onnx, write_tflite

SIDE = 8


class Brightness(nn.Module):
    """The mean of each channel of an image, and of each twice."""

    def forward(self, pixels: Tensor) -> Tensor:
        mean = pixels.mean((2, 3))
        return torch.cat([mean, 2 * mean], 1)


def add(folder: Path, file: Path, kind: str, modality: str = "video", **options: Any) -> Any:
    manifest = EncoderManifest(
        name="mine", modality=modality, kind=kind, files={file.name: hash_file(file)}, options=options
    )
    install_files(manifest, {file.name: file}, folder)
    return open_encoder("mine", [folder])


def write_torch_file(path: Path, kind: str) -> Path:
    example = (torch.zeros(1, 3, SIDE, SIDE),)
    if kind == "torchscript":
        torch.jit.trace(Brightness(), example).save(path)  # type: ignore[no-untyped-call]
    else:
        torch.export.save(torch.export.export(Brightness(), example), path)
    return path


@pytest.mark.parametrize(("kind", "ending"), [("torchscript", ".pt"), ("torch-export", ".pt2")])
def test_a_torch_file_encodes_images(tmp_path: Path, kind: str, ending: str) -> None:
    encoder = add(tmp_path, write_torch_file(tmp_path / f"net{ending}", kind), kind, side=SIDE, mean=[0.5], std=[0.5])
    red = np.zeros((20, 30, 3), np.uint8)
    red[..., 0] = 255
    assert encoder.encode([red, red[:5]]) == pytest.approx(np.array([[1, -1, -1, 2, -2, -2]] * 2), abs=1e-6)


def doc_block(name: str) -> str:
    """Return the block of docs/extend.md whose marks name a file."""
    return next(b.text for b in blocks(ROOT / "docs" / "extend.md") if name in b.marks)


@pytest.fixture
def power(tmp_path: Path) -> Path:
    return write_onnx(tmp_path / "power.onnx", 4_000)


@pytest.mark.parametrize(("kind", "write"), [("onnx", write_onnx), ("tflite", write_tflite)])
def test_sound_is_cut_into_inputs_and_pooled(tmp_path: Path, kind: str, write: Callable[[Path, int], Path]) -> None:
    file = write(tmp_path / f"power.{kind}", 4_000)
    encoder = add(tmp_path, file, kind, "audio", sample_rate=8_000, samples=4_000, pool="mean+max")
    sound = np.repeat(np.array([0.5, 0.1], np.float32), 4_000)
    # Inputs begin every 2,000 samples: .5 loud, half of it, .1 loud.
    levels = [0.25, 0.13, 0.01]
    assert encoder.encode([sound]) == pytest.approx(np.array([[np.mean(levels), max(levels)]]), abs=1e-6)


def test_silence_is_a_row_of_zeros(tmp_path: Path, power: Path) -> None:
    encoder = add(tmp_path, power, "onnx", "audio", sample_rate=8_000, samples=4_000)
    vectors = encoder.encode([np.zeros(100, np.float32), np.zeros(0, np.float32), np.ones(10, np.float32)])
    assert vectors.any(1).tolist() == [False, False, True]


def test_a_vector_does_not_depend_on_the_other_items(tmp_path: Path, power: Path) -> None:
    encoder = add(tmp_path, power, "onnx", "audio", sample_rate=8_000, samples=4_000)
    items = [np.random.default_rng(n).normal(0, 0.1, 500 + 3_000 * n).astype(np.float32) for n in range(5)]
    assert np.array_equal(encoder.encode(items)[3], encoder.encode(items[3:4])[0])


def test_an_inner_layer_of_a_tflite_file_can_be_the_output(tmp_path: Path) -> None:
    file = write_tflite(tmp_path / "power.tflite", 4)
    encoder = add(tmp_path, file, "tflite", "audio", samples=4, layer="square", transform="sqrt")
    assert encoder.encode([np.array([0.1, 0.2, 0.3, 0.4], np.float32)]) == pytest.approx(
        np.array([[0.1, 0.2, 0.3, 0.4]])
    )


def test_the_walk_through_the_documentation_adds_an_encoder(tmp_path: Path) -> None:
    (tmp_path / "make_loudness.py").write_text(doc_block("make_loudness.py"))
    encoders = tmp_path / "encoders"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "BRAID_FUSION__ENCODERS": str(encoders)}

    def run(*command: str | Path) -> str:
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True, env=environment)
        return done.stdout

    run(sys.executable, "make_loudness.py")
    for line in doc_block("add-loudness").splitlines():
        printed = run(sys.executable, "-m", "services.cli.main", *line.split()[1:])
    assert "loudness" in printed
    vectors = open_encoder("loudness", [encoders]).encode([np.full(8_000, 0.25, np.float32)])
    assert vectors == pytest.approx(np.array([[0.25, 0.25]]))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"layer": "no_such"}, "has no output no_such"),
        ({"colour": 1}, "colour"),
        ({"pool": "median"}, "pool"),
    ],
)
def test_options_that_cannot_be_used_are_refused(
    tmp_path: Path, power: Path, options: dict[str, Any], problem: str
) -> None:
    with pytest.raises(EncoderError, match=problem):
        add(tmp_path, power, "onnx", "audio", samples=4_000, **options)
    assert not (tmp_path / "mine").exists(), "nothing is added that cannot be opened"


@pytest.mark.parametrize("kind", ["onnx", "tflite", "torchscript", "torch-export"])
def test_a_file_of_another_format_is_refused(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "net.bin"
    file.write_bytes(b"not a network" * 10)
    with pytest.raises(EncoderError, match=r"net\.bin cannot be"):
        add(tmp_path, file, kind)


def test_a_text_encoder_needs_a_tokenizer(tmp_path: Path, power: Path) -> None:
    with pytest.raises(EncoderError, match="no tokenizer"):
        add(tmp_path, power, "onnx", "text")
