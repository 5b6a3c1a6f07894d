"""Train heads with differential privacy: clip every row's gradient and add noise to their sum (Abadi et al. 2016).

The encoders are fixed and hold nothing of any sample; only the heads are learned. The accountant uses Rényi DP of the
subsampled Gaussian mechanism.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from model.data.example import Examples
from model.encoders.text import Lexicon
from model.modality import FIXED
from model.network import Architecture, TaskNetwork
from model.tensors import collate_examples, encode_branches
from model.training_loop import TrainedTask

ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 512)
NOISE_MIN, NOISE_MAX = 0.2, 1_000.0
NOISE_TOLERANCE = 1e-4


def renyi_divergence(rate: float, noise: float, order: int) -> float:
    """Return the Rényi divergence of one step at an integer order (Mironov, Talwar and Zhang 2019, section 3.3).

    Args:
        rate: Chance that a sample is in the step.
        noise: Standard deviation of the noise, in units of the clipping norm.
        order: The order.
    """
    if rate == 0:
        return 0.0
    if rate == 1:
        return order / (2 * noise**2)
    terms = [
        math.lgamma(order + 1) - math.lgamma(k + 1) - math.lgamma(order - k + 1)
        + k * math.log(rate) + (order - k) * math.log1p(-rate) + (k * k - k) / (2 * noise**2)
        for k in range(order + 1)
    ]  # fmt: skip
    largest = max(terms)
    return max(largest + math.log(sum(math.exp(t - largest) for t in terms)), 0.0) / (order - 1)


def compute_epsilon(rate: float, noise: float, steps: int, delta: float, orders: Sequence[int] = ORDERS) -> float:
    """Return the epsilon of `steps` steps at a delta: the best order, converted after Canonne, Kamath and Steinke (2020)."""
    return min(
        max(
            steps * renyi_divergence(rate, noise, order)
            + math.log1p(-1 / order)
            - (math.log(delta) + math.log(order)) / (order - 1),
            0.0,
        )
        for order in orders
    )


def find_noise(target: float, rate: float, steps: int, delta: float) -> float:
    """Return the least noise, to 1e-4, whose epsilon is at most the target.

    Raises:
        ValueError: If no noise is enough.
    """
    if compute_epsilon(rate, NOISE_MAX, steps, delta) > target:
        raise ValueError(f"epsilon {target} at delta {delta} is out of reach with {steps} steps")
    low, high = NOISE_MIN, NOISE_MAX
    while high - low > NOISE_TOLERANCE:
        middle = (low + high) / 2
        if compute_epsilon(rate, middle, steps, delta) > target:
            low = middle
        else:
            high = middle
    return high


Report = Callable[[int, dict[str, float]], None]
FUSION = "experts"
ROWS_AT_ONCE = 128


@dataclass(frozen=True, slots=True)
class PrivateRecipe:
    """Everything that a private training depends on besides the samples.

    Attributes:
        epsilon: The target; None trains the same network in the same steps without clipping or noise.
        rate: Chance of each row to be in a step.
        clip: Largest norm of a row's gradient.
    """

    epsilon: float | None
    delta: float = 1e-4
    steps: int = 100
    rate: float = 0.5
    clip: float = 1.0
    learning_rate: float = 0.1
    segments: int = 4
    threads: int = 1


@dataclass(frozen=True, slots=True)
class PrivacySpent:
    """The privacy loss of a training per row: (epsilon, delta), with its noise, rate and steps."""

    epsilon: float
    delta: float
    noise: float
    rate: float
    steps: int


@dataclass(frozen=True, slots=True)
class EncodedRows:
    """Branches float32 [rows, severities, modalities, features] of all rows, which are present, and labels."""

    branches: Tensor
    present: Tensor
    labels: Tensor


class HeadLoss(nn.Module):
    """The summed loss of the present branches of one row: the mean over its severities."""

    def __init__(self, network: TaskNetwork) -> None:
        super().__init__()
        self.heads = network.heads
        self.names = network.modalities

    def forward(self, branches: Tensor, present: Tensor, right: Tensor) -> Tensor:
        """Compute the loss of branches [severities, modalities, features] with a bool mask and the one-hot label."""
        logits = torch.stack([self.heads[m](branches[:, i]) for i, m in enumerate(self.names)], 1)
        losses = -(torch.log_softmax(logits, -1) * right).sum(-1)
        return (losses * present).sum(1).mean()


def initialize_heads(data: Examples, words: Sequence[str], vector_size: int) -> TrainedTask:
    """Create heads at zero over fixed encoders with public words; the class prior is even, because counts would leak."""
    architecture = Architecture(data.modalities, len(data.labels), len(words), vector_size, FUSION, encoders=FIXED)
    network = TaskNetwork(architecture).eval()
    for parameter in network.heads.parameters():
        nn.init.zeros_(parameter)
    return TrainedTask(network, Lexicon(words))


def encode_rows(data: Examples, trained: TrainedTask, segments: int) -> EncodedRows:
    """Encode the training rows as the manifest degrades them; they are not paired anew, because rows must stay separate."""
    parts = []
    for severity in data.severities:
        tensors = collate_examples(data.samples("train", severity), data.modalities, trained.lexicon, segments)
        parts.append((*encode_branches(trained.network, tensors), tensors.labels))
    branches, present, labels = zip(*parts, strict=True)
    return EncodedRows(torch.stack(branches, 1), torch.stack(present, 1), labels[0])


def train_heads(
    rows: EncodedRows, trained: TrainedTask, recipe: PrivateRecipe, secret: int, report: Report
) -> PrivacySpent | None:
    """Train the heads in place.

    Args:
        rows: The training rows.
        trained: The network.
        recipe: Everything else about the training.
        secret: Seed of draws and noise. It reveals the noise, so no checkpoint contains it.
        report: Called after each step.

    Returns:
        The privacy spent, None without a target.
    """
    torch.set_num_threads(recipe.threads)
    count, rate = len(rows.labels), recipe.rate
    noise = 0.0 if recipe.epsilon is None else find_noise(recipe.epsilon, rate, recipe.steps, recipe.delta)
    rng, generator = np.random.default_rng(secret), torch.Generator().manual_seed(secret)
    loss = HeadLoss(trained.network)
    state = dict(loss.named_parameters())
    optimiser = torch.optim.Adam(state.values(), recipe.learning_rate)
    average = {name: torch.zeros_like(value) for name, value in state.items()}
    for step in range(1, recipe.steps + 1):
        chosen = torch.from_numpy(np.flatnonzero(rng.random(count) < rate))
        summed = clipped_sum(loss, rows, chosen, None if recipe.epsilon is None else recipe.clip)
        for name, parameter in state.items():
            noisy_sum = summed[name] + noise * recipe.clip * torch.randn(parameter.shape, generator=generator)
            parameter.grad = noisy_sum / (rate * count)
        optimiser.step()
        # The mean of the second half; processing noisy weights costs no privacy.
        for name, parameter in state.items():
            average[name].lerp_(parameter.detach(), 1 / max(step - recipe.steps // 2, 1))
        report(step, {"step": float(step)})
    with torch.no_grad():
        for name, parameter in state.items():
            parameter.copy_(average[name])
    if recipe.epsilon is None:
        return None
    return PrivacySpent(
        compute_epsilon(rate, noise, recipe.steps, recipe.delta), recipe.delta, noise, rate, recipe.steps
    )


def clipped_sum(loss: HeadLoss, rows: EncodedRows, chosen: Tensor, clip: float | None) -> dict[str, Tensor]:
    """Sum the chosen rows' gradients, each clipped to norm `clip`, by parameter."""
    state = {name: value.detach() for name, value in loss.named_parameters()}
    total = {name: torch.zeros_like(value) for name, value in state.items()}
    for part in torch.split(chosen, ROWS_AT_ONCE):
        gradients = row_gradients(loss, state, rows, part)
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in gradients.values()]).norm(dim=0)
        scale = torch.ones_like(norms) if clip is None else (clip / norms.clamp(min=1e-9)).clamp(max=1.0)
        for name, gradient in gradients.items():
            total[name] += torch.einsum("n,n...->...", scale, gradient)
    return total


def row_gradients(loss: HeadLoss, state: dict[str, Tensor], rows: EncodedRows, chosen: Tensor) -> dict[str, Tensor]:
    """Compute the gradient of each row, float32 [rows, …] by parameter."""

    def row_loss(weights: dict[str, Tensor], branches: Tensor, present: Tensor, right: Tensor) -> Tensor:
        loss_value: Tensor = functional_call(loss, weights, (branches, present, right))
        return loss_value

    first = next(iter(state.values()))
    right = nn.functional.one_hot(rows.labels[chosen], len(first)).float()
    each = vmap(grad_and_value(row_loss), in_dims=(None, 0, 0, 0))
    gradients: dict[str, Tensor] = each(state, rows.branches[chosen], rows.present[chosen], right)[0]
    return gradients
