"""Contributions are exact Shapley values; a conflict names the odd modality."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.explain import explain_window, explain_windows

MODALITIES, LABELS = ("text", "video", "audio"), ("nothing", "one", "two")


def rows(seed: int, present: frozenset[str]) -> np.ndarray:
    """Return random log probabilities of all subsets, which absent modalities do not change."""
    rng = np.random.default_rng(seed)
    mask = sum(1 << i for i, m in enumerate(MODALITIES) if m in present)
    by_used = {u: np.log(rng.dirichlet(np.ones(len(LABELS)))) for u in range(8)}
    return np.stack([by_used[i & mask] for i in range(8)])


@given(st.integers(0, 10_000), st.sets(st.sampled_from(MODALITIES)))
def test_contributions_sum_to_score_minus_baseline_and_absent_modalities_contribute_zero(
    seed: int, mask: set[str]
) -> None:
    present = frozenset(mask)
    e = explain_window(rows(seed, present), present, MODALITIES, LABELS, 0.9, 0.5)
    assert sum(e.contributions.values()) == pytest.approx(e.score - e.baseline, abs=1e-9)
    assert all(abs(e.contributions[m]) < 1e-12 for m in MODALITIES if m not in present)
    assert e.confidence == pytest.approx(np.exp(e.score))


@given(st.integers(0, 10_000), st.sets(st.sampled_from(MODALITIES)), st.integers(1, 9))
def test_windows_that_are_explained_together_are_explained_as_each_alone(seed: int, mask: set[str], count: int) -> None:
    present = frozenset(mask)
    tables = np.stack([rows(seed + n, present) for n in range(count)])
    together = explain_windows(tables, present, MODALITIES, LABELS, 0.3, 0.5)
    assert together == [explain_window(table, present, MODALITIES, LABELS, 0.3, 0.5) for table in tables]


def test_a_modality_that_contradicts_two_others_is_odd() -> None:
    sure = {"one": np.log([0.01, 0.98, 0.01]), "two": np.log([0.01, 0.01, 0.98])}
    table = np.stack([sure["two"] if i == 4 else sure["one"] for i in range(8)])
    table[0] = np.log([0.4, 0.3, 0.3])
    e = explain_window(table, frozenset(MODALITIES), MODALITIES, LABELS, 0.9, 0.5)
    assert e.odd == "audio"
    assert e.conflict > 0.9


def test_modalities_that_agree_are_no_conflict() -> None:
    table = np.stack([np.log([0.001, 0.998, 0.001])] * 8)
    table[0] = np.log([0.4, 0.3, 0.3])
    e = explain_window(table, frozenset(MODALITIES), MODALITIES, LABELS, 0.9, 0.5)
    assert e.conflict < 0.01
    assert e.odd is None
    assert not e.abstained


def conflict_by_enumeration(single: np.ndarray, prior: np.ndarray) -> float:
    """Return the posterior of a conflict, summed over all combinations of labels of three modalities."""
    likely = single / prior
    agree = sum(float(prior[k] * likely[0, k] * likely[1, k] * likely[2, k]) for k in range(3))
    odd = 0.0
    for odd_one in range(3):
        first, second = (m for m in range(3) if m != odd_one)
        for k in range(3):
            for j in (j for j in range(3) if j != k):
                other_label = prior[j] / (1 - prior[k]) * likely[odd_one, j]
                odd += float(prior[k] * likely[first, k] * likely[second, k] * other_label) / 3
    return odd / (odd + agree)


@given(st.integers(0, 10_000))
def test_conflict_equals_the_posterior_by_enumeration(seed: int) -> None:
    rng = np.random.default_rng(seed)
    prior, single = rng.dirichlet(np.ones(3) * 3), rng.dirichlet(np.ones(3), 3)
    table = np.log(np.stack([prior, single[0], single[1], prior, single[2], prior, prior, prior]))
    e = explain_window(table, frozenset(MODALITIES), MODALITIES, LABELS, 0.9, 0.5)
    assert e.conflict == pytest.approx(conflict_by_enumeration(single, prior), abs=1e-9)


def test_one_modality_is_no_conflict_and_of_two_none_is_odd() -> None:
    table = np.log(np.random.default_rng(1).dirichlet(np.ones(3), 8))
    assert explain_window(table, frozenset({"text"}), MODALITIES, LABELS, 0.0, 0.5).conflict == 0
    assert explain_window(table, frozenset({"text", "audio"}), MODALITIES, LABELS, 0.0, 0.5).odd is None
