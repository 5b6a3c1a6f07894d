"""A model with random weights from a seed, with a small vocabulary."""

from __future__ import annotations

from typing import Any

import torch

from model.labels import LABELS
from model.predictor import FusionModel
from model.streams.network import StreamsNetwork

WORDS = ["turn", "on", "the", "kettle", "seven", "dog", "rain"]
VECTOR_SIZE = 12
BATCH = 8


def config(**changed: Any) -> dict[str, Any]:
    """Return the config of a checkpoint of this model."""
    return {
        "name": "untrained",
        "version": "1",
        "labels": list(LABELS),
        "words": WORDS,
        "vector_size": VECTOR_SIZE,
        "batch_windows": BATCH,
        "segments_per_window": 4,
        "threads": 1,
        "conformal": 0.9,
        "conflict_from": 0.9,
        "decision": {},
    } | changed


def network(seed: int = 3, labels: int = len(LABELS)) -> StreamsNetwork:
    """Return a network whose calibration is not neutral, so that a test notices if it is not used."""
    torch.manual_seed(seed)
    untrained = StreamsNetwork(labels, len(WORDS), VECTOR_SIZE)
    for parameter in untrained.parameters():
        torch.nn.init.normal_(parameter, 0, 0.3)
    untrained.get_buffer("text.vectors").normal_()
    untrained.get_buffer("temperature").uniform_(0.8, 1.5)
    untrained.get_buffer("subset_temperature").uniform_(0.8, 1.5)
    untrained.get_buffer("log_prior").copy_(torch.randn(labels).log_softmax(0))
    return untrained.eval()


def model(seed: int = 3) -> FusionModel:
    """Return the model as it is served on the CPU."""
    torch.set_num_threads(config()["threads"])
    return FusionModel(network(seed), config(), WORDS, "0" * 64, torch.device("cpu"))
