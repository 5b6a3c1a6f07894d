"""The default: the product of experts, and a gated attention residual that starts at zero.

The residual sees all branches together, and so what one says about the state of the others. It is kept only for those
subsets in which it improves the validation.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from model.fusions.experts import ExpertsFusion
from model.fusions.transformer import TransformerFusion


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
