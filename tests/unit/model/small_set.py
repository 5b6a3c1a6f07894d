"""A small labelled set that is learned in seconds: word, brightness and pitch determine the label."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator

from model.checkpoint import load, save
from model.data.degradations import Severity
from model.data.example import Example
from model.network import Architecture, TaskNetwork
from model.predictor import FusionModel

WORDS = ["low", "high", "the", "tone"]
VECTOR_SIZE = 6
LABELS = ("low", "high")


class SmallSet:
    """A generated data set with two labels and three modalities."""

    name = "small"
    labels = LABELS
    modalities = ("text", "video", "audio")
    severities: tuple[Severity, ...] = ("clean",)

    def __init__(self, count: int = 24) -> None:
        self._count = count

    def epoch(self, rng: Generator, ease: float = 0.0) -> list[Example]:
        return [sample(n % 2, rng) for n in range(self._count)]

    def drawn(self, severity: Severity, rng: Generator) -> list[Example]:
        return [sample(n % 2, rng) for n in range(8)]

    def samples(self, part: str, severity: Severity) -> list[Example]:
        return self.drawn(severity, np.random.default_rng(9))


def sample(label: int, rng: Generator) -> Example:
    """Return one sample of a label."""
    image = np.full((64, 64, 3), 60, np.uint8)
    image[:, 32 * label : 32 * label + 32] = 200
    pitch = (300, 1_500)[label] + rng.uniform(-30, 30)
    audio = 0.3 * np.sin(2 * np.pi * pitch * np.arange(4_000) / 8_000) + rng.normal(0, 0.01, 4_000)
    draw = tuple(float(u) for u in rng.random(3))
    return Example(f"s{rng.integers(10**6)}", label, f"the {LABELS[label]} tone", image, audio.astype(np.float32), draw)


def table() -> torch.Tensor:
    """Return word vectors of the small lexicon."""
    return torch.randn(len(WORDS) + 2, VECTOR_SIZE, generator=torch.Generator().manual_seed(1))


def architecture(fusion: str = "gated") -> Architecture:
    """Return the architecture of a network for the small set."""
    return Architecture(SmallSet.modalities, len(LABELS), len(WORDS), VECTOR_SIZE, fusion)


def network(fusion: str = "gated", seed: int = 5) -> TaskNetwork:
    """Return a network with random weights and a calibration that is not neutral."""
    torch.manual_seed(seed)
    untrained = TaskNetwork(architecture(fusion))
    for parameter in untrained.parameters():
        torch.nn.init.normal_(parameter, 0, 0.2)
    untrained.get_buffer("temperature").uniform_(0.8, 1.5)
    untrained.get_buffer("log_prior").copy_(torch.randn(len(LABELS)).log_softmax(0))
    return untrained.eval()


def config(fusion: str = "gated", **changed: object) -> dict[str, object]:
    """Return the config of a checkpoint of such a network."""
    return {
        "name": "small", "version": "1", "task": "small", "labels": list(LABELS), "words": WORDS,
        "vector_size": VECTOR_SIZE, "batch_windows": 4, "segments_per_window": 4, "segments_per_sample": 4, "threads": 1,
        "conformal": 0.5, "conflict_from": 0.5, "decision": {},
        "architecture": {"modalities": list(SmallSet.modalities), "fusion": fusion},
    } | changed  # fmt: skip


def served(folder: Path, fusion: str = "gated") -> FusionModel:
    """Save a checkpoint of such a network and load it."""
    save(folder, network(fusion), config(fusion), "")
    return load(folder, "cpu")
