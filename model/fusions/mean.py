"""Mean fusion: V_F = sum of the present V_m / number present, then a head."""

from __future__ import annotations

from torch import Tensor, nn


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
