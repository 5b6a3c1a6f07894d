"""Calibrate a task network on corrupted validation samples: temperatures, residual, conformal threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, nll_loss

from model.data.example import Examples
from model.encoders.text import Lexicon
from model.fusion import GatedFusion
from model.network import WARMTH_MAX, TaskNetwork
from model.tensors import collate_examples, encode_branches

TEMPERATURES = torch.logspace(-0.7, 0.7, 141)
COVERAGE = 0.9
DRAWS = 4
SEED = 70_001
# The residual stays on for a subset if it improves the NLL by more than this many standard errors.
RESIDUAL_MIN_ERRORS = 1.0
WEIGHT_MAX = 1e3
# Chosen on halves of the validation samples: a smaller ridge overfits, a larger one gives a constant temperature.
RIDGE = 0.3


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """Branches float32 [rows, modalities, features] of samples, which of them are present, and the labels."""

    branches: Tensor
    present: Tensor
    labels: Tensor

    @staticmethod
    def concatenate(parts: Sequence[CalibrationSet]) -> CalibrationSet:
        """Concatenate the rows of several sets."""
        fields = zip(*((p.branches, p.present, p.labels) for p in parts), strict=True)
        return CalibrationSet(*(torch.cat(values) for values in fields))


def draw_validation_set(
    network: TaskNetwork, lexicon: Lexicon, data: Examples, segments: int, draws: int = DRAWS
) -> CalibrationSet:
    """Encode the validation samples of every severity, each corrupted `draws` times."""
    parts = []
    for number in range(draws):
        rng = np.random.default_rng(SEED + number)
        examples = [e for s in data.severities for e in data.drawn(s, rng)]
        tensors = collate_examples(examples, network.modalities, lexicon, segments)
        parts.append(CalibrationSet(*encode_branches(network, tensors), tensors.labels))
    return CalibrationSet.concatenate(parts)


@torch.no_grad()
def fit_expert_temperatures(network: TaskNetwork, samples: CalibrationSet) -> None:
    """Fit, in place, the temperature of each expert and its dependence on the branch's features."""
    logits = network.expert_logits(samples.branches)
    for i in range(len(network.modalities)):
        present = samples.present[:, i]
        if bool(present.any()):
            temperature, warmth = fit_warmth(logits[present, i], samples.branches[present, i], samples.labels[present])
            network.get_buffer("temperature")[i], network.get_buffer("warmth")[i] = temperature, warmth


@torch.no_grad()
def select_residual_subsets(network: TaskNetwork, samples: CalibrationSet) -> dict[int, float]:
    """Enable the residual, in place, only for subsets in which it improves validation.

    Returns:
        The gain in NLL by subset index.
    """
    fusion = network.fusion
    if not isinstance(fusion, GatedFusion):
        return {}
    network.get_buffer("subset_temperature").fill_(1.0)
    mask = cast(Tensor, fusion.kept)
    mask.fill_(1.0)
    with_it = network.subset_log_probs(samples.branches, samples.present)
    mask.fill_(0.0)
    without = network.subset_log_probs(samples.branches, samples.present)
    gains = {}
    for index in range(1, len(mask)):
        rows = rows_with_subset(network, samples, index)
        if not bool(rows.any()):
            continue
        labels = samples.labels[rows, None]
        gain = (with_it[rows, index].gather(1, labels) - without[rows, index].gather(1, labels)).squeeze(1)
        error = float(gain.std()) / max(len(gain), 1) ** 0.5
        mask[index] = float(float(gain.mean()) > RESIDUAL_MIN_ERRORS * error)
        gains[index] = round(float(gain.mean()), 4)
    return gains


@torch.no_grad()
def fit_subset_temperatures(network: TaskNetwork, samples: CalibrationSet) -> None:
    """Fit one temperature for each subset of modalities, in place."""
    network.get_buffer("subset_temperature").fill_(1.0)
    rows = network.subset_log_probs(samples.branches, samples.present)
    for index in range(1, rows.shape[1]):
        exact = rows_with_subset(network, samples, index)
        if bool(exact.any()):
            temperature = fit_temperature(rows[exact, index], samples.labels[exact])
            network.get_buffer("subset_temperature")[index] = temperature


@torch.no_grad()
def fit_conformal_threshold(network: TaskNetwork, samples: CalibrationSet) -> float:
    """Return the split-conformal threshold of 1 - p(true label) at 90 % coverage (Vovk et al. 2005)."""
    fused = network.fuse(samples.branches, network.expert_log_probs(samples.branches), samples.present)
    missed = 1 - fused.exp().gather(1, samples.labels[:, None]).squeeze(1).numpy()
    return float(np.quantile(missed, min(COVERAGE * (1 + 1 / len(missed)), 1.0)))


def rows_with_subset(network: TaskNetwork, samples: CalibrationSet, index: int) -> Tensor:
    """Return a bool [rows] mask of the rows in which all modalities of a subset are present."""
    needed = torch.tensor([bool(index >> i & 1) for i in range(len(network.modalities))])
    return (samples.present | ~needed).all(1)


@torch.enable_grad()
def fit_warmth(logits: Tensor, branch: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Fit the temperature T and the weights w [features] of logits / (T exp(w . branch)) by least NLL.

    T alone is one value for all severities, hence too high for clean samples and too low for harsh ones. A ridge keeps w
    small.
    """
    size = branch.std(0) + 1e-3
    start, weights = fit_temperature(logits, labels).log(), torch.zeros(1 + branch.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weights], max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        log_factor = (branch / size @ weights[1:]).clamp(-WARMTH_MAX, WARMTH_MAX)
        temperature = torch.exp(start + weights[0] + log_factor)
        objective = cross_entropy(logits / temperature[:, None], labels) + RIDGE * weights[1:].square().sum()
        objective.backward()  # type: ignore[no-untyped-call]
        return objective

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    fitted = weights.detach()
    if not fitted.isfinite().all() or fitted.abs().max() > WEIGHT_MAX:
        # Where every sample is right, ever colder is ever better: the constant temperature has a bound.
        return start.exp(), torch.zeros_like(size)
    return torch.exp(start + fitted[0]), fitted[1:] / size


def fit_temperature(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the temperature of least NLL on a fine grid (Guo et al. 2017)."""
    losses = [cross_entropy(logits / t, labels) for t in TEMPERATURES]
    return TEMPERATURES[int(torch.stack(losses).argmin())]


@torch.no_grad()
def score_draws(network: TaskNetwork, samples: CalibrationSet) -> dict[str, dict[str, float]]:
    """Score accuracy and NLL on the draws, by subset of modalities."""
    rows = network.subset_log_probs(samples.branches, samples.present)
    scores = {}
    for index in range(1, rows.shape[1]):
        exact = rows_with_subset(network, samples, index)
        if bool(exact.any()):
            log_probs, labels = rows[exact, index], samples.labels[exact]
            name = "+".join(m for i, m in enumerate(network.modalities) if index >> i & 1)
            accuracy = float((log_probs.argmax(1) == labels).float().mean())
            scores[name] = {"accuracy": round(accuracy, 4), "nll": round(float(nll_loss(log_probs, labels)), 4)}
    return scores
