"""Concatenation, the dense baseline: every branch in its place, 256 units, softmax; absent ones are flagged.

The product of calibrated experts: sum of log p(label | modality) minus (n - 1) log prior.

Exact where modalities are independent given the label (Hinton 2002; Kittler et al. 1998).

Attention over the branches that are there, a class token and a few bottleneck tokens (Nagrani et al. 2021).

The default: the product of experts, and a gated attention residual that starts at zero.

The residual sees all branches together, and so what one says about the state of the others. It is kept only for those
subsets in which it improves the validation.

Late fusion: the mean of the logits of the branches that are there.

Mean fusion: V_F = sum of the present V_m / number present, then a head.

Fusions by name: the one place where each is registered, with the kind of encoders that it goes with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from model.modality import BASELINE, LIGHT

UNITS = 256


class ConcatFusion(nn.Module):
    """Logits [batch, labels]; beside each branch stands whether it is there, so that an absent one is no zero."""

    def __init__(self, modality_count: int, features: int, label_count: int) -> None:
        super().__init__()
        self.dense = nn.Linear(modality_count * (features + 1), UNITS)
        self.out = nn.Linear(UNITS, label_count)

    def forward(self, branches: Tensor, experts: Tensor, used: Tensor, log_prior: Tensor) -> Tensor:
        flags = used.unsqueeze(-1).float()
        side_by_side = torch.cat([branches * flags, flags], -1).flatten(1)
        logits: Tensor = self.out(torch.relu(self.dense(side_by_side)))
        return logits


class ExpertsFusion(nn.Module):
    """Logits [batch, labels]; the prior itself where none is used. Learns nothing."""

    def __init__(self, modality_count: int, features: int, label_count: int) -> None:
        super().__init__()

    def forward(self, branches: Tensor, experts: Tensor, used: Tensor, log_prior: Tensor) -> Tensor:
        count = used.sum(1, keepdim=True).float()
        return (experts * used.unsqueeze(-1)).sum(1) - (count - 1) * log_prior


BOTTLENECKS, HEADS = 2, 4


class TransformerFusion(nn.Module):
    """Logits [batch, labels] from the class token; absent branches are masked out as keys."""

    def __init__(self, modality_count: int, features: int, label_count: int) -> None:
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(1 + BOTTLENECKS, features) * 0.1)
        self.kind = nn.Parameter(torch.randn(modality_count, features) * 0.1)
        self.before = nn.LayerNorm(features)
        self.attention = nn.MultiheadAttention(features, HEADS, batch_first=True)
        self.between = nn.LayerNorm(features)
        self.dense = nn.Sequential(nn.Linear(features, 2 * features), nn.ReLU(), nn.Linear(2 * features, features))
        self.head = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, label_count))

    def forward(self, branches: Tensor, experts: Tensor, used: Tensor, log_prior: Tensor) -> Tensor:
        own = self.tokens.expand(len(branches), -1, -1)
        rows = torch.cat([own, branches * used.unsqueeze(-1) + self.kind], 1)
        masked = torch.cat([used.new_zeros(len(used), 1 + BOTTLENECKS), ~used], 1)
        seen = self.before(rows)
        rows = rows + self.attention(seen, seen, seen, key_padding_mask=masked, need_weights=False)[0]
        rows = rows + self.dense(self.between(rows))
        logits: Tensor = self.head(rows[:, 0])
        return logits


class GatedFusion(nn.Module):
    """Logits [batch, labels]; `kept` float32 [2^modalities] says for which subsets the residual counts."""

    def __init__(self, modality_count: int, features: int, label_count: int) -> None:
        super().__init__()
        self.base = ExpertsFusion(modality_count, features, label_count)
        self.said = nn.Linear(label_count, features)
        self.residual = TransformerFusion(modality_count, features, label_count)
        self.gate = nn.Parameter(torch.zeros(()))
        self.register_buffer("kept", torch.ones(1 << modality_count))
        self.register_buffer("bits", 1 << torch.arange(modality_count), persistent=False)

    def forward(self, branches: Tensor, experts: Tensor, used: Tensor, log_prior: Tensor) -> Tensor:
        base = self.base(branches, experts, used, log_prior)
        added = self.residual(branches + self.said(experts.exp()), experts, used, log_prior)
        index = (used * cast(Tensor, self.bits)).sum(1)
        kept = cast(Tensor, self.kept)[index].unsqueeze(-1)
        fused: Tensor = base + torch.tanh(self.gate) * kept * added
        return fused


class LateFusion(nn.Module):
    """Logits [batch, labels] from the experts' log probabilities [batch, modalities, labels]; learns nothing."""

    def __init__(self, modality_count: int, features: int, label_count: int) -> None:
        super().__init__()

    def forward(self, branches: Tensor, experts: Tensor, used: Tensor, log_prior: Tensor) -> Tensor:
        weights = used.unsqueeze(-1).float()
        return (experts * weights).sum(1) / weights.sum(1).clamp(min=1)


class MeanFusion(nn.Module):
    """Logits [batch, labels] from branches [batch, modalities, features] of which `used` [batch, modalities] count."""

    def __init__(self, modality_count: int, features: int, label_count: int) -> None:
        super().__init__()
        del modality_count  # a mean knows no places
        self.head = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, label_count))

    def forward(self, branches: Tensor, experts: Tensor, used: Tensor, log_prior: Tensor) -> Tensor:
        weights = used.unsqueeze(-1).float()
        logits: Tensor = self.head((branches * weights).sum(1) / weights.sum(1).clamp(min=1))
        return logits


DEFAULT = "gated"


@dataclass(frozen=True, slots=True)
class FusionSpec:
    """make(modality count, features, label count) -> a module called with (branches, experts, used, log_prior).

    trains_branches: its own loss trains them too; else each branch learns from its own loss alone, and its best weights
    are its own; residual: the fusion has weights that are trained after the branches.
    """

    make: Callable[[int, int, int], nn.Module]
    encoders: str = LIGHT
    trains_branches: bool = True
    residual: bool = False


FUSIONS: Mapping[str, FusionSpec] = {
    "mean": FusionSpec(MeanFusion),
    "concat": FusionSpec(ConcatFusion, encoders=BASELINE),
    "transformer": FusionSpec(TransformerFusion),
    "late": FusionSpec(LateFusion),
    "experts": FusionSpec(ExpertsFusion, trains_branches=False),
    "gated": FusionSpec(GatedFusion, trains_branches=False, residual=True),
}
