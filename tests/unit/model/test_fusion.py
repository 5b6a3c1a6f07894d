"""Fusions: each by its name, any subset of modalities, and an absent one that counts for nothing."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from model.fusion import DEFAULT, FUSIONS
from tests.unit.model.small_set import network

ROWS, LABELS = 5, 2


@pytest.fixture(params=sorted(FUSIONS))
def fusion(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def some(name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    made = network(name)
    generator = torch.Generator().manual_seed(2)
    branches = torch.randn(ROWS, 3, made.architecture.encoder_config.features, generator=generator)
    return branches, made.expert_log_probs(branches), made.get_buffer("log_prior")


@torch.no_grad()
def test_features_of_an_absent_branch_are_ignored(fusion: str) -> None:
    made = network(fusion)
    branches, experts, _ = some(fusion)
    for subset in product((False, True), repeat=3):
        used = torch.tensor(subset).expand(ROWS, 3)
        other = torch.where(used.unsqueeze(-1), branches, torch.full_like(branches, 7.0))
        said = torch.where(used.unsqueeze(-1), experts, torch.full_like(experts, -9.0))
        torch.testing.assert_close(made.fuse(other, said, used), made.fuse(branches, experts, used))


@torch.no_grad()
def test_every_subset_gives_probabilities_and_the_empty_one_gives_the_prior(fusion: str) -> None:
    made = network(fusion)
    branches, _, prior = some(fusion)
    rows = made.subset_log_probs(branches, torch.ones(ROWS, 3, dtype=torch.bool))
    assert rows.shape == (ROWS, 8, LABELS)
    torch.testing.assert_close(rows.exp().sum(-1), torch.ones(ROWS, 8))
    torch.testing.assert_close(rows[:, 0], prior.expand(ROWS, LABELS))


@torch.no_grad()
def test_a_present_zero_branch_differs_from_an_absent_one() -> None:
    for name in ("mean", "concat", "transformer"):
        made = network(name)
        branches, experts, _ = some(name)
        branches[:, 2] = 0
        there = made.fuse(branches, experts, torch.tensor([True, True, True]).expand(ROWS, 3))
        absent = made.fuse(branches, experts, torch.tensor([True, True, False]).expand(ROWS, 3))
        assert not torch.allclose(there, absent)


@torch.no_grad()
def test_the_mean_is_over_present_branches() -> None:
    made = network("mean")
    branches, experts, prior = some("mean")
    used = torch.tensor([True, False, True]).expand(ROWS, 3)
    by_hand = made.fusion.head((branches[:, 0] + branches[:, 2]) / 2)  # type: ignore[operator]
    torch.testing.assert_close(made.fusion(branches, experts, used, prior), by_hand)


@torch.no_grad()
def test_the_product_of_experts_counts_the_prior_once() -> None:
    made = network("experts")
    branches, experts, prior = some("experts")
    used = torch.tensor([True, True, True]).expand(ROWS, 3)
    by_hand = torch.log_softmax(experts.sum(1) - 2 * prior, -1)
    torch.testing.assert_close(made.fuse(branches, experts, used), by_hand)
    one = torch.tensor([False, True, False]).expand(ROWS, 3)
    torch.testing.assert_close(made.fuse(branches, experts, one), experts[:, 1])


@torch.no_grad()
def test_gated_fusion_equals_the_product_of_experts_while_gate_or_residual_is_off() -> None:
    made, base = network(DEFAULT), network("experts")
    branches, experts, prior = some(DEFAULT)
    base.get_buffer("log_prior").copy_(prior)
    used = torch.tensor([True, False, True]).expand(ROWS, 3)
    opened = made.fuse(branches, experts, used)
    expected = base.fuse(branches, experts, used)
    assert not torch.allclose(opened, expected)
    made.fusion.get_buffer("kept")[0b101] = 0
    torch.testing.assert_close(made.fuse(branches, experts, used), expected)
    made.fusion.get_buffer("kept")[0b101] = 1
    made.fusion.gate.zero_()  # type: ignore[operator]
    torch.testing.assert_close(made.fuse(branches, experts, used), expected)
