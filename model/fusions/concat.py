"""Concatenation, the dense baseline: every branch in its place, 256 units, softmax; absent ones are flagged."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
