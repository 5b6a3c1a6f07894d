"""The accountant against published numbers and numerical integration."""

from __future__ import annotations

import math

import numpy as np
import pytest

from research.privacy.dp_sgd import compute_epsilon, find_noise, renyi_divergence


@pytest.mark.parametrize(("rate", "noise", "order"), [(0.01, 1.1, 8), (0.2, 2.0, 5), (0.5, 0.9, 3), (1.0, 1.5, 4)])
def test_divergence_equals_its_numerical_integral(rate: float, noise: float, order: int) -> None:
    x = np.linspace(-40 * noise, 40 * noise + order, 400_001)
    base = np.exp(-(x**2) / (2 * noise**2)) / math.sqrt(2 * math.pi) / noise
    ratio = (1 - rate) + rate * np.exp((2 * x - 1) / (2 * noise**2))
    integral = np.trapezoid(base * ratio**order, x)
    assert renyi_divergence(rate, noise, order) == pytest.approx(math.log(integral) / (order - 1), rel=1e-6)


def test_epsilon_equals_the_value_of_opacus() -> None:
    """opacus/tests/accountants_test.py: 7.32911117143, over fractional orders too, so integers lie little above."""
    value = compute_epsilon(0.04, 1.5, int(90 / 0.04), 1e-5)
    assert 7.3291 <= value < 7.36


def test_noise_for_a_target_equals_the_value_of_opacus() -> None:
    """The same file: epsilon 8 at delta 1e-5, rate .04, 90 epochs: 1.425307617."""
    noise_found = find_noise(8, 0.04, int(90 / 0.04), 1e-5)
    assert noise_found == pytest.approx(1.4253, abs=0.006)
    assert compute_epsilon(0.04, noise_found, int(90 / 0.04), 1e-5) <= 8


def test_a_full_batch_is_the_gaussian_mechanism() -> None:
    assert renyi_divergence(1.0, 2.0, 6) == 6 / 8
    assert renyi_divergence(0.0, 2.0, 6) == 0


def test_more_noise_fewer_steps_and_rarer_samples_lower_epsilon() -> None:
    base = compute_epsilon(0.1, 1.0, 100, 1e-5)
    assert compute_epsilon(0.1, 2.0, 100, 1e-5) < base
    assert compute_epsilon(0.1, 1.0, 50, 1e-5) < base
    assert compute_epsilon(0.05, 1.0, 100, 1e-5) < base


def test_an_unreachable_epsilon_raises_value_error() -> None:
    with pytest.raises(ValueError, match="out of reach"):
        find_noise(1e-6, 0.5, 1_000, 1e-9)
