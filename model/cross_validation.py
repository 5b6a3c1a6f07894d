"""Fit a small set without validation samples: train on everything, calibrate on held-out groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import metrics
from model.calibrate import COVERAGE, fit_temperature
from model.data.homesound10 import GROUPS, Homesound10
from model.encoders.text import build_lexicon
from model.fit_and_calibrate import FittedModel, fit_prior
from model.network import TaskNetwork
from model.recipe import TaskRecipe
from model.tensors import collate_examples, encode_branches
from model.training_loop import initialize_network, train_network

Report = Callable[[str, int, Mapping[str, float]], None]


@dataclass(frozen=True, slots=True)
class HeldOutGroup:
    """The branches, presence and labels of a group by a network that was not trained on it."""

    network: TaskNetwork
    branches: Tensor
    present: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class CrossValidated:
    """The model of all clips, and cross-validation scores by subset of modalities."""

    built: FittedModel
    cells: dict[str, dict[str, float]]


def cross_validate(data: Homesound10, vectors: Path, recipe: TaskRecipe, report: Report) -> CrossValidated:
    """Cross-validate over the official groups, then train on all clips with the temperatures of the held-out groups."""
    groups = []
    for number, group in enumerate(GROUPS):
        network, _ = _train_group(data.hold_out(group), vectors, recipe, report, f"group {number + 1}")
        groups.append(network)
    scores = score_held_out(groups)
    full = data.hold_out(())
    final, words = _train_group(full, vectors, recipe, report, "all clips")
    _fit_temperatures(groups, final.network)
    rows = torch.cat([_subset_log_probs(h, final.network) for h in groups])
    labels = torch.cat([h.labels for h in groups])
    missed = 1 - rows[:, -1].exp().gather(1, labels[:, None]).squeeze(1).numpy()
    threshold = float(np.quantile(missed, min(COVERAGE * (1 + 1 / len(missed)), 1.0)))
    return CrossValidated(FittedModel(final.network, words, [], threshold, {}), scores)


def score_held_out(groups: list[HeldOutGroup]) -> dict[str, dict[str, float]]:
    """Score the held-out groups, each with temperatures fitted on the others."""
    probabilities: list[NDArray[np.float64]] = []
    for group in groups:
        _fit_temperatures([h for h in groups if h is not group], group.network)
        probabilities.append(_subset_log_probs(group, group.network).exp().double().numpy())
    p, labels = np.concatenate(probabilities), torch.cat([h.labels for h in groups]).numpy()
    modalities = groups[0].network.modalities
    scores = {}
    for index in range(1, p.shape[1]):
        ece = metrics.excess_ece(p[:, index], labels)
        name = "+".join(m for i, m in enumerate(modalities) if index >> i & 1)
        scores[name] = {
            "accuracy": round(metrics.accuracy(p[:, index], labels), 4),
            "macro_f1": round(metrics.macro_f1(p[:, index], labels), 4),
            "nll": round(metrics.nll(p[:, index], labels), 4),
            "ece": round(ece.ece, 4),
            "excess_ece": round(ece.excess, 4),
        }
    return scores


def _train_group(
    data: Homesound10, vectors: Path, recipe: TaskRecipe, report: Report, name: str
) -> tuple[HeldOutGroup, list[str]]:
    words, table = build_lexicon(data.sentences(), vectors)
    trained = initialize_network(data, words, table, recipe)
    fit_prior(trained, data)
    train_network(data, trained, recipe, lambda n, point: report(name, n, point))
    examples = data.samples("test", "clean") or data.samples("train", "clean")
    tensors = collate_examples(examples, data.modalities, trained.lexicon, recipe.segments)
    branches, present = encode_branches(trained.network, tensors)
    return HeldOutGroup(trained.network, branches, present, tensors.labels), words


@torch.no_grad()
def _fit_temperatures(groups: list[HeldOutGroup], network: TaskNetwork) -> None:
    """Fit temperatures of experts and subsets on held-out groups and store them in a network."""
    labels = torch.cat([h.labels for h in groups])
    logits = torch.cat([h.network.expert_logits(h.branches) for h in groups])
    for i in range(len(network.modalities)):
        network.get_buffer("temperature")[i] = fit_temperature(logits[:, i], labels)
    network.get_buffer("subset_temperature").fill_(1.0)
    rows = torch.cat([_subset_log_probs(h, network) for h in groups])
    for index in range(1, rows.shape[1]):
        network.get_buffer("subset_temperature")[index] = fit_temperature(rows[:, index], labels)


@torch.no_grad()
def _subset_log_probs(group: HeldOutGroup, calibrated: TaskNetwork) -> Tensor:
    """Return log probabilities of all subsets by a group's own network with the temperatures of another."""
    saved: dict[str, Any] = {n: group.network.get_buffer(n).clone() for n in ("temperature", "subset_temperature")}
    for name in saved:
        group.network.get_buffer(name).copy_(calibrated.get_buffer(name))
    rows = group.network.subset_log_probs(group.branches, group.present)
    for name, value in saved.items():
        group.network.get_buffer(name).copy_(value)
    return rows
