"""Account for the privacy loss of noisy steps over Poisson samples: Rényi DP of the subsampled Gaussian mechanism."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
