"""Calibration of a task's model on fresh draws of validation samples: temperatures, the residual, two thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, nll_loss

from model.data.example import Examples
from model.encoders.lexicon import Lexicon
from model.fusion import GatedFusion
from model.network import WARMTH_MAX, TaskNetwork
from model.tensors import encoded, tensors_of

TEMPERATURES = torch.logspace(-0.7, 0.7, 141)
COVERAGE = 0.9
DRAWS = 4
SEED = 70_001
# The residual is kept for a subset where it is better by this many standard errors.
SURE = 1.0
# Chosen on halves of the validation samples: less follows single samples, more is one temperature for all.
RIDGE = 0.3


@dataclass(frozen=True, slots=True)
class Seen:
    """Branches float32 [rows, modalities, features] of samples, which are present, and their labels."""

    branches: Tensor
    present: Tensor
    labels: Tensor

    @staticmethod
    def joined(parts: Sequence[Seen]) -> Seen:
        """Several side by side."""
        fields = zip(*((p.branches, p.present, p.labels) for p in parts), strict=True)
        return Seen(*(torch.cat(values) for values in fields))


def validation_draws(network: TaskNetwork, lexicon: Lexicon, data: Examples, segments: int, draws: int = DRAWS) -> Seen:
    """Validation samples of every severity, each corrupted a few times."""
    parts = []
    for number in range(draws):
        rng = np.random.default_rng(SEED + number)
        examples = [e for s in data.severities for e in data.drawn(s, rng)]
        tensors = tensors_of(examples, network.modalities, lexicon, segments)
        parts.append(Seen(*encoded(network, tensors), tensors.labels))
    return Seen.joined(parts)


@torch.no_grad()
def fit_experts(network: TaskNetwork, seen: Seen) -> None:
    """For each expert a temperature and how what its branch shows changes it, in place."""
    logits = network.expert_logits(seen.branches)
    for i in range(len(network.modalities)):
        there = seen.present[:, i]
        if bool(there.any()):
            warm, warmth = best_warmth(logits[there, i], seen.branches[there, i], seen.labels[there])
            network.get_buffer("temperature")[i], network.get_buffer("warmth")[i] = warm, warmth


@torch.no_grad()
def keep_residual(network: TaskNetwork, seen: Seen) -> dict[int, float]:
    """Keep the residual only for subsets in which it improves the validation; the gain in NLL by subset."""
    fusion = network.fusion
    if not isinstance(fusion, GatedFusion):
        return {}
    network.get_buffer("subset_temperature").fill_(1.0)
    kept = cast(Tensor, fusion.kept)
    kept.fill_(1.0)
    with_it = network.subset_log_probs(seen.branches, seen.present)
    kept.fill_(0.0)
    without = network.subset_log_probs(seen.branches, seen.present)
    gains = {}
    for index in range(1, len(kept)):
        rows = exactly(network, seen, index)
        if not bool(rows.any()):
            continue
        right = seen.labels[rows, None]
        gain = (with_it[rows, index].gather(1, right) - without[rows, index].gather(1, right)).squeeze(1)
        error = float(gain.std()) / max(len(gain), 1) ** 0.5
        kept[index] = float(float(gain.mean()) > SURE * error)
        gains[index] = round(float(gain.mean()), 4)
    return gains


@torch.no_grad()
def fit_subsets(network: TaskNetwork, seen: Seen) -> None:
    """One temperature for each subset of modalities, in place."""
    network.get_buffer("subset_temperature").fill_(1.0)
    rows = network.subset_log_probs(seen.branches, seen.present)
    for index in range(1, rows.shape[1]):
        exact = exactly(network, seen, index)
        if bool(exact.any()):
            warm = best_temperature(rows[exact, index], seen.labels[exact])
            network.get_buffer("subset_temperature")[index] = warm


@torch.no_grad()
def conformal_threshold(network: TaskNetwork, seen: Seen) -> float:
    """The split-conformal threshold of 1 - p(right label) at 90 % coverage (Vovk et al. 2005)."""
    fused = network.fused(seen.branches, network.experts(seen.branches), seen.present)
    missed = 1 - fused.exp().gather(1, seen.labels[:, None]).squeeze(1).numpy()
    return float(np.quantile(missed, min(COVERAGE * (1 + 1 / len(missed)), 1.0)))


def exactly(network: TaskNetwork, seen: Seen, index: int) -> Tensor:
    """The rows in which all modalities of a subset are there."""
    needed = torch.tensor([bool(index >> i & 1) for i in range(len(network.modalities))])
    return (seen.present | ~needed).all(1)


@torch.enable_grad()
def best_warmth(logits: Tensor, branch: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """T and w [features] of least NLL for logits / (T exp(w . branch)), w held small by a ridge: T alone is one for all
    severities, and so too warm for clean samples and too cool for harsh ones."""
    size = branch.std(0) + 1e-3
    start, weights = best_temperature(logits, labels).log(), torch.zeros(1 + branch.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        shown = (branch / size @ weights[1:]).clamp(-WARMTH_MAX, WARMTH_MAX)
        warm = torch.exp(start + weights[0] + shown)
        found = cross_entropy(logits / warm[:, None], labels) + RIDGE * weights[1:].square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    fitted = weights.detach()
    return torch.exp(start + fitted[0]), fitted[1:] / size


def best_temperature(logits: Tensor, labels: Tensor) -> Tensor:
    """The temperature of least NLL on a fine grid (Guo et al. 2017)."""
    losses = [cross_entropy(logits / t, labels) for t in TEMPERATURES]
    return TEMPERATURES[int(torch.stack(losses).argmin())]


@torch.no_grad()
def cell_scores(network: TaskNetwork, seen: Seen) -> dict[str, dict[str, float]]:
    """Accuracy and NLL on the draws, by subset."""
    rows = network.subset_log_probs(seen.branches, seen.present)
    out = {}
    for index in range(1, rows.shape[1]):
        exact = exactly(network, seen, index)
        if bool(exact.any()):
            logs, labels = rows[exact, index], seen.labels[exact]
            name = "+".join(m for i, m in enumerate(network.modalities) if index >> i & 1)
            right = float((logs.argmax(1) == labels).float().mean())
            out[name] = {"accuracy": round(right, 4), "nll": round(float(nll_loss(logs, labels)), 4)}
    return out
