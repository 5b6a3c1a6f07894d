"""All fusions: any subset of modalities, and absent branches without influence."""

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
    branches_drawn = network(name)
    generator = torch.Generator().manual_seed(2)
    branches = torch.randn(ROWS, 3, branches_drawn.architecture.encoder_config.features, generator=generator)
    return branches, branches_drawn.expert_log_probs(branches), branches_drawn.get_buffer("log_prior")


@torch.no_grad()
def test_features_of_an_absent_branch_are_ignored(fusion: str) -> None:
    model = network(fusion)
    branches, experts, _ = some(fusion)
    for subset in product((False, True), repeat=3):
        mask = torch.tensor(subset).expand(ROWS, 3)
        other = torch.where(mask.unsqueeze(-1), branches, torch.full_like(branches, 7.0))
        log_probs = torch.where(mask.unsqueeze(-1), experts, torch.full_like(experts, -9.0))
        torch.testing.assert_close(model.fuse(other, log_probs, mask), model.fuse(branches, experts, mask))


@torch.no_grad()
def test_every_subset_gives_probabilities_and_the_empty_one_gives_the_prior(fusion: str) -> None:
    model = network(fusion)
    branches, _, prior = some(fusion)
    rows = model.subset_log_probs(branches, torch.ones(ROWS, 3, dtype=torch.bool))
    assert rows.shape == (ROWS, 8, LABELS)
    torch.testing.assert_close(rows.exp().sum(-1), torch.ones(ROWS, 8))
    torch.testing.assert_close(rows[:, 0], prior.expand(ROWS, LABELS))


@torch.no_grad()
def test_a_present_zero_branch_differs_from_an_absent_one() -> None:
    for name in ("mean", "concat", "transformer"):
        model = network(name)
        branches, experts, _ = some(name)
        branches[:, 2] = 0
        present = model.fuse(branches, experts, torch.tensor([True, True, True]).expand(ROWS, 3))
        absent = model.fuse(branches, experts, torch.tensor([True, True, False]).expand(ROWS, 3))
        assert not torch.allclose(present, absent)


@torch.no_grad()
def test_the_mean_is_over_present_branches() -> None:
    model = network("mean")
    branches, experts, prior = some("mean")
    mask = torch.tensor([True, False, True]).expand(ROWS, 3)
    by_hand = model.fusion.head((branches[:, 0] + branches[:, 2]) / 2)  # type: ignore[operator]
    torch.testing.assert_close(model.fusion(branches, experts, mask, prior), by_hand)


@torch.no_grad()
def test_the_product_of_experts_counts_the_prior_once() -> None:
    model = network("experts")
    branches, experts, prior = some("experts")
    mask = torch.tensor([True, True, True]).expand(ROWS, 3)
    by_hand = torch.log_softmax(experts.sum(1) - 2 * prior, -1)
    torch.testing.assert_close(model.fuse(branches, experts, mask), by_hand)
    item = torch.tensor([False, True, False]).expand(ROWS, 3)
    torch.testing.assert_close(model.fuse(branches, experts, item), experts[:, 1])


@torch.no_grad()
def test_gated_fusion_equals_the_product_of_experts_while_gate_or_residual_is_off() -> None:
    model, base = network(DEFAULT), network("experts")
    branches, experts, prior = some(DEFAULT)
    base.get_buffer("log_prior").copy_(prior)
    mask = torch.tensor([True, False, True]).expand(ROWS, 3)
    opened = model.fuse(branches, experts, mask)
    expected = base.fuse(branches, experts, mask)
    assert not torch.allclose(opened, expected)
    model.fusion.get_buffer("kept")[0b101] = 0
    torch.testing.assert_close(model.fuse(branches, experts, mask), expected)
    model.fusion.get_buffer("kept")[0b101] = 1
    model.fusion.gate.zero_()  # type: ignore[operator]
    torch.testing.assert_close(model.fuse(branches, experts, mask), expected)
