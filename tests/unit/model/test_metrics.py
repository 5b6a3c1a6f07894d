"""Metrics against cases computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from model import metrics


def test_accuracy_and_macro_f1_of_a_small_case() -> None:
    p = np.eye(3)[[0, 0, 1, 2]]
    labels = np.array([0, 1, 1, 2])
    assert metrics.accuracy(p, labels) == 0.75
    assert metrics.macro_f1(p, labels) == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)


def test_nll_and_brier_of_a_small_case() -> None:
    p = np.array([[0.5, 0.5], [0.25, 0.75]])
    labels = np.array([0, 1])
    assert metrics.nll(p, labels) == pytest.approx(-(np.log(0.5) + np.log(0.75)) / 2)
    assert metrics.brier(p, labels) == pytest.approx((0.5 + 2 * 0.25**2) / 2)


def test_a_calibrated_model_has_no_excess_and_an_overconfident_one_has() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.55, 0.95, 3_000)
    p = np.stack([confidence, 1 - confidence], 1)
    fair = (rng.random(3_000) >= confidence).astype(np.int64)
    coin = rng.integers(0, 2, 3_000)
    honest, bold = metrics.excess_ece(p, fair), metrics.excess_ece(p, coin)
    assert abs(honest.excess) < 0.01
    assert honest.ece < honest.p99
    assert bold.excess > 0.2
    assert bold.ece > bold.p99


def test_ece_of_one_wrong_prediction_is_its_confidence() -> None:
    assert metrics.excess_ece(np.array([[0.9, 0.1]]), np.array([1])).ece == pytest.approx(0.9)


def test_auroc_is_the_probability_that_a_positive_scores_higher() -> None:
    scores = np.array([0.9, 0.5, 0.5, 0.1])
    assert metrics.auroc(scores, np.array([True, True, False, False])) == pytest.approx(3.5 / 4)


def test_the_lower_bound_of_a_paired_difference_lies_below_it_and_is_zero_for_equals() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.random(300) < 0.9, rng.random(300) < 0.8
    assert metrics.paired_lower_bound(first, second) < first.mean() - second.mean()
    assert metrics.paired_lower_bound(first, first) == 0
