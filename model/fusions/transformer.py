"""Attention over the branches that are there, a class token and a few bottleneck tokens (Nagrani et al. 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

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
