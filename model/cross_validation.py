"""A small set without validation samples: trained on everything, calibrated on what held-out groups showed."""

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
from model.calibrate import COVERAGE, best_temperature
from model.data.homesound10 import GROUPS, Homesound10
from model.fit import Built, set_prior
from model.network import TaskNetwork
from model.recipe import TaskRecipe
from model.tensors import encoded, tensors_of
from model.train import start, train
from model.vocabulary import lexicon_for

Report = Callable[[str, int, Mapping[str, float]], None]


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What a network that never saw a group's recordings says of them: branches, presence, labels."""

    network: TaskNetwork
    branches: Tensor
    present: Tensor
    labels: Tensor


@dataclass(frozen=True, slots=True)
class Crossed:
    """The model of all clips, and the scores of cross-validation by subset of modalities."""

    built: Built
    cells: dict[str, dict[str, float]]


def build_crossed(data: Homesound10, vectors: Path, recipe: TaskRecipe, report: Report) -> Crossed:
    """Cross-validate over the official groups, then train on all clips with the temperatures of the held-out ones."""
    held = []
    for number, group in enumerate(GROUPS):
        network, _ = _trained(data.holding(group), vectors, recipe, report, f"group {number + 1}")
        held.append(network)
    scores = cross_scores(held)
    full = data.holding(())
    final, words = _trained(full, vectors, recipe, report, "all clips")
    _fit(held, final.network)
    rows = torch.cat([_rows(h, final.network) for h in held])
    labels = torch.cat([h.labels for h in held])
    missed = 1 - rows[:, -1].exp().gather(1, labels[:, None]).squeeze(1).numpy()
    threshold = float(np.quantile(missed, min(COVERAGE * (1 + 1 / len(missed)), 1.0)))
    return Crossed(Built(final.network, words, [], threshold, {}), scores)


def cross_scores(held: list[HeldOut]) -> dict[str, dict[str, float]]:
    """Scores of the held-out groups, each with temperatures fitted on the others alone."""
    found: list[NDArray[np.float64]] = []
    for one in held:
        _fit([h for h in held if h is not one], one.network)
        found.append(_rows(one, one.network).exp().double().numpy())
    p, labels = np.concatenate(found), torch.cat([h.labels for h in held]).numpy()
    modalities = held[0].network.modalities
    out = {}
    for index in range(1, p.shape[1]):
        ece = metrics.excess_ece(p[:, index], labels)
        name = "+".join(m for i, m in enumerate(modalities) if index >> i & 1)
        out[name] = {
            "accuracy": round(metrics.accuracy(p[:, index], labels), 4),
            "macro_f1": round(metrics.macro_f1(p[:, index], labels), 4),
            "nll": round(metrics.nll(p[:, index], labels), 4),
            "ece": round(ece.ece, 4),
            "excess_ece": round(ece.excess, 4),
        }
    return out


def _trained(
    data: Homesound10, vectors: Path, recipe: TaskRecipe, report: Report, what: str
) -> tuple[HeldOut, list[str]]:
    words, table = lexicon_for(data.sentences(), vectors)
    trained = start(data, words, table, recipe)
    set_prior(trained, data)
    train(data, trained, recipe, lambda n, point: report(what, n, point))
    examples = data.given("test", "clean") or data.given("train", "clean")
    tensors = tensors_of(examples, data.modalities, trained.lexicon, recipe.segments)
    branches, present = encoded(trained.network, tensors)
    return HeldOut(trained.network, branches, present, tensors.labels), words


@torch.no_grad()
def _fit(held: list[HeldOut], into: TaskNetwork) -> None:
    """Temperatures of experts and subsets from held-out groups, put into a network."""
    labels = torch.cat([h.labels for h in held])
    logits = torch.cat([h.network.expert_logits(h.branches) for h in held])
    for i in range(len(into.modalities)):
        into.get_buffer("temperature")[i] = best_temperature(logits[:, i], labels)
    into.get_buffer("subset_temperature").fill_(1.0)
    rows = torch.cat([_rows(h, into) for h in held])
    for index in range(1, rows.shape[1]):
        into.get_buffer("subset_temperature")[index] = best_temperature(rows[:, index], labels)


@torch.no_grad()
def _rows(held: HeldOut, calibrated: TaskNetwork) -> Tensor:
    """Log probabilities of all subsets by a held-out group's own network, with another's temperatures."""
    saved: dict[str, Any] = {n: held.network.get_buffer(n).clone() for n in ("temperature", "subset_temperature")}
    for name in saved:
        held.network.get_buffer(name).copy_(calibrated.get_buffer(name))
    rows = held.network.subset_log_probs(held.branches, held.present)
    for name, value in saved.items():
        held.network.get_buffer(name).copy_(value)
    return rows
