"""Calibrate the streams model on validation scenes: expert and subset temperatures, prior, mean head weight, thresholds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from model.data import splits
from model.data.example import collate
from model.data.scene import SceneGenerator
from model.encoders.audio import LogMel
from model.encoders.text import Vocabulary
from model.labels import LABELS, label_kind
from model.streams.network import MODALITIES, StreamsNetwork
from model.streams.train import forward

TEMPERATURES = torch.logspace(-0.5, 0.7, 61)
WEIGHTS = torch.linspace(0, 1, 11)
COVERAGE = 0.9
KINDS = ("nothing", "digit", "sound")


@dataclass(frozen=True, slots=True)
class CalibrationResult:
    """Accuracy, NLL and ECE per subset of modalities on validation, and the thresholds."""

    cells: dict[str, dict[str, float]]
    conformal: float
    conflict_from: float


def calibrate(
    network: StreamsNetwork, words: list[str], data: Path, scene_count: int = 160, seed: int = 11
) -> CalibrationResult:
    """Calibrate in place on scenes of validation items: one half to fit, the other to report."""
    fit, check = (
        _branches(network, words, data, scene_count, seed),
        _branches(network, words, data, scene_count, seed + 1),
    )
    branches, present, labels, own = fit
    counts = torch.bincount(labels, minlength=len(LABELS)).float() + 5
    network.log_prior.copy_(torch.log(counts / counts.sum()))  # type: ignore[operator]
    with torch.inference_mode():
        for i in range(len(MODALITIES)):
            present_rows = present[:, i]
            logits = network.expert_logits(branches)[present_rows, i]
            network.temperature[i] = _best_temperature(logits, own[present_rows, i])  # type: ignore[operator]
            network.meaning[i] = _meaning(own[present_rows, i], labels[present_rows])  # type: ignore[operator]
        everything = (1 << len(MODALITIES)) - 1
        scores = []
        for weight in WEIGHTS:
            network.mean_weight.copy_(weight)  # type: ignore[operator]
            rows = network.subset_log_probs(branches, present)[:, everything]
            scores.append(float(torch.nn.functional.nll_loss(rows, labels)))
        network.mean_weight.copy_(WEIGHTS[int(np.argmin(scores))])  # type: ignore[operator]
        for index in range(1, 1 << len(MODALITIES)):
            exact = _exactly(present, index)
            rows = network.subset_log_probs(branches, present)[exact, index]
            network.subset_temperature[index] = _best_temperature(rows, labels[exact])  # type: ignore[operator]
    return _report(network, *check[:3])


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 15) -> float:
    """Compute ECE with equal-mass bins (Guo et al. 2017; Nixon et al. 2019)."""
    parts = np.array_split(np.argsort(confidence), bins)
    return float(sum(abs(confidence[p].mean() - right[p].mean()) * len(p) for p in parts if len(p)) / len(confidence))


def _branches(
    network: StreamsNetwork, words: list[str], data: Path, count: int, seed: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    maker = SceneGenerator(
        splits.load_digits(data, "val"),
        splits.load_clips(data, "val"),
        splits.load_noises(data),
        np.random.default_rng(seed),
        shake=False,
    )
    vocabulary, log_mel = Vocabulary(words), LogMel()
    parts = []
    with torch.inference_mode():
        for _ in range(count // 10):
            batch = collate([maker.make() for _ in range(10)], vocabulary, LABELS, log_mel)
            own = torch.stack([batch.own[m] for m in MODALITIES], 1)
            parts.append((*forward(network, batch), batch.labels, own))
    branches, present, labels, own = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return branches, present, labels, own


def _meaning(own: Tensor, labels: Tensor) -> Tensor:
    """Estimate P(label of the window | label that one modality shows), [own, label], pooled over digits and over sounds."""
    count = len(LABELS)
    kinds = torch.tensor([KINDS.index(label_kind(label)) for label in LABELS])
    meaning = torch.zeros(count, count)
    for kind in range(len(KINDS)):
        members = torch.isin(own, (kinds == kind).nonzero().squeeze(1))
        shown, true = own[members], labels[members]
        same = (shown == true).sum() + 1.0
        # Counts of other labels by kind, pooled over all labels of that kind.
        others = torch.stack([((kinds[true] == k) & (shown != true)).sum() + 0.5 for k in range(len(KINDS))])
        for label in (kinds == kind).nonzero().squeeze(1).tolist():
            room = torch.stack([((kinds == k) & (torch.arange(count) != label)).sum() for k in range(len(KINDS))])
            row = (others / room.clamp(min=1))[kinds]
            row[label] = same
            meaning[label] = row / row.sum()
    return meaning


def _exactly(present: Tensor, index: int) -> Tensor:
    """Return a mask of the windows in which all modalities of a subset are present."""
    needed = torch.tensor([bool(index >> i & 1) for i in range(len(MODALITIES))])
    return (present | ~needed).all(1)


def _best_temperature(logits: Tensor, labels: Tensor) -> Tensor:
    losses = [torch.nn.functional.cross_entropy(logits / t, labels) for t in TEMPERATURES]
    return TEMPERATURES[int(torch.stack(losses).argmin())]


def _report(network: StreamsNetwork, branches: Tensor, present: Tensor, labels: Tensor) -> CalibrationResult:
    with torch.inference_mode():
        rows = network.subset_log_probs(branches, present)
    cells: dict[str, dict[str, float]] = {}
    for index in range(1, 1 << len(MODALITIES)):
        exact = _exactly(present, index)
        log_p = rows[exact, index]
        confidence, predicted = log_p.exp().max(1)
        right = (predicted == labels[exact]).numpy().astype(float)
        cells["+".join(m for i, m in enumerate(MODALITIES) if index >> i & 1)] = {
            "windows": int(exact.sum()),
            "accuracy": round(float(right.mean()), 4),
            "nll": round(float(torch.nn.functional.nll_loss(log_p, labels[exact])), 4),
            "ece": round(expected_calibration_error(confidence.numpy(), right), 4),
        }
    full_subset = int((1 << len(MODALITIES)) - 1)
    true_p = rows[torch.arange(len(labels)), full_subset, labels].exp().numpy()
    return CalibrationResult(cells, float(np.quantile(1 - true_p, COVERAGE)), 0.9)
