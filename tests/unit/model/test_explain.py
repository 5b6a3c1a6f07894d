"""Contributions are exact Shapley values, conflict names the odd sense."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.explain import explain

MODALITIES, LABELS = ("text", "video", "audio"), ("nothing", "one", "two")


def rows(seed: int, present: frozenset[str]) -> np.ndarray:
    """Random log probabilities of all subsets, in which absent senses change nothing."""
    rng = np.random.default_rng(seed)
    there = sum(1 << i for i, m in enumerate(MODALITIES) if m in present)
    by_used = {u: np.log(rng.dirichlet(np.ones(len(LABELS)))) for u in range(8)}
    return np.stack([by_used[i & there] for i in range(8)])


@given(st.integers(0, 10_000), st.sets(st.sampled_from(MODALITIES)))
def test_contributions_sum_to_score_minus_baseline_and_absent_senses_contribute_nothing(
    seed: int, there: set[str]
) -> None:
    present = frozenset(there)
    e = explain(rows(seed, present), present, MODALITIES, LABELS, 0.9, 0.5)
    assert sum(e.contributions.values()) == pytest.approx(e.score - e.baseline, abs=1e-9)
    assert all(abs(e.contributions[m]) < 1e-12 for m in MODALITIES if m not in present)
    assert e.confidence == pytest.approx(np.exp(e.score))


def test_a_sense_that_contradicts_two_others_is_the_odd_one() -> None:
    sure = {"one": np.log([0.01, 0.98, 0.01]), "two": np.log([0.01, 0.01, 0.98])}
    table = np.stack([sure["two"] if i == 4 else sure["one"] for i in range(8)])
    table[0] = np.log([0.4, 0.3, 0.3])
    e = explain(table, frozenset(MODALITIES), MODALITIES, LABELS, 0.9, 0.5)
    assert e.odd == "audio"
    assert e.conflict > 0.9


def test_senses_that_agree_are_no_conflict() -> None:
    table = np.stack([np.log([0.001, 0.998, 0.001])] * 8)
    table[0] = np.log([0.4, 0.3, 0.3])
    e = explain(table, frozenset(MODALITIES), MODALITIES, LABELS, 0.9, 0.5)
    assert e.conflict < 0.01
    assert e.odd is None
    assert not e.abstained
