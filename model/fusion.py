"""Fuse branches and experts into logits: six fusions, registered by name in FUSIONS.

Every fusion is called with branches float32 [batch, modalities, features], experts (log probabilities [batch,
modalities, labels]), used (bool [batch, modalities]) and log_prior [labels], and returns logits [batch, labels].
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
    """Concatenation, the dense baseline: all branches side by side with presence flags, 256 units, then a head."""

    def __init__(self, modality_count: int, features: int, label_count: int) -> None:
        super().__init__()
        self.dense = nn.Linear(modality_count * (features + 1), UNITS)
        self.out = nn.Linear(UNITS, label_count)

    def forward(self, branches: Tensor, experts: Tensor, used: Tensor, log_prior: Tensor) -> Tensor:
        """Return logits from all branches with their presence flags."""
        flags = used.unsqueeze(-1).float()
        side_by_side = torch.cat([branches * flags, flags], -1).flatten(1)
        logits: Tensor = self.out(torch.relu(self.dense(side_by_side)))
        return logits


class ExpertsFusion(nn.Module):
    """The product of experts: sum of log p(label | modality) minus (n - 1) log prior. Learns nothing.

    Exact if modalities are independent given the label (Hinton 2002; Kittler et al. 1998).
    """

    def __init__(self, modality_count: int, features: int, label_count: int) -> None:
        super().__init__()

    def forward(self, branches: Tensor, experts: Tensor, used: Tensor, log_prior: Tensor) -> Tensor:
        """Return the product of the used experts; the prior if none is used."""
        count = used.sum(1, keepdim=True).float()
        return (experts * used.unsqueeze(-1)).sum(1) - (count - 1) * log_prior


BOTTLENECKS, HEADS = 2, 4


class TransformerFusion(nn.Module):
    """Attention over the present branches, a class token and bottleneck tokens (Nagrani et al. 2021)."""

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
        """Return logits of the class token; absent branches are masked out as keys."""
        tokens = self.tokens.expand(len(branches), -1, -1)
        rows = torch.cat([tokens, branches * used.unsqueeze(-1) + self.kind], 1)
        masked = torch.cat([used.new_zeros(len(used), 1 + BOTTLENECKS), ~used], 1)
        normalized = self.before(rows)
        rows = rows + self.attention(normalized, normalized, normalized, key_padding_mask=masked, need_weights=False)[0]
        rows = rows + self.dense(self.between(rows))
        logits: Tensor = self.head(rows[:, 0])
        return logits


class GatedFusion(nn.Module):
    """The default: the product of experts plus a gated attention residual that starts at zero.

    The residual sees all branches together. `kept` float32 [2^modalities] enables it only for subsets that it improves in
    validation.
    """

    def __init__(self, modality_count: int, features: int, label_count: int) -> None:
        super().__init__()
        self.base = ExpertsFusion(modality_count, features, label_count)
        self.said = nn.Linear(label_count, features)
        self.residual = TransformerFusion(modality_count, features, label_count)
        self.gate = nn.Parameter(torch.zeros(()))
        self.register_buffer("kept", torch.ones(1 << modality_count))
        self.register_buffer("bits", 1 << torch.arange(modality_count), persistent=False)

    def forward(self, branches: Tensor, experts: Tensor, used: Tensor, log_prior: Tensor) -> Tensor:
        """Return the product of experts plus the gated residual."""
        base = self.base(branches, experts, used, log_prior)
        added = self.residual(branches + self.said(experts.exp()), experts, used, log_prior)
        index = (used * cast(Tensor, self.bits)).sum(1)
        enabled = cast(Tensor, self.kept)[index].unsqueeze(-1)
        fused: Tensor = base + torch.tanh(self.gate) * enabled * added
        return fused


class LateFusion(nn.Module):
    """Late fusion: the mean of the experts' log probabilities. Learns nothing."""

    def __init__(self, modality_count: int, features: int, label_count: int) -> None:
        super().__init__()

    def forward(self, branches: Tensor, experts: Tensor, used: Tensor, log_prior: Tensor) -> Tensor:
        """Return the mean of the used experts."""
        weights = used.unsqueeze(-1).float()
        return (experts * weights).sum(1) / weights.sum(1).clamp(min=1)


class MeanFusion(nn.Module):
    """Mean fusion: the mean of the used branches, then a head."""

    def __init__(self, modality_count: int, features: int, label_count: int) -> None:
        super().__init__()
        del modality_count  # the mean does not depend on it
        self.head = nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, label_count))

    def forward(self, branches: Tensor, experts: Tensor, used: Tensor, log_prior: Tensor) -> Tensor:
        """Return logits of the mean of the used branches."""
        weights = used.unsqueeze(-1).float()
        logits: Tensor = self.head((branches * weights).sum(1) / weights.sum(1).clamp(min=1))
        return logits


DEFAULT = "gated"


@dataclass(frozen=True, slots=True)
class FusionSpec:
    """How to make a fusion and how to train it.

    Attributes:
        make: Creates the module from (modality count, features, label count).
        encoders: The kind of encoders that it goes with.
        trains_branches: True if its own loss trains the branches too; else each branch has its own loss and stops alone.
        residual: True if it has weights that are trained after the branches.
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
