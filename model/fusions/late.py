"""Late fusion: the mean of the logits of the branches that are there."""

from __future__ import annotations

from torch import Tensor, nn


class LateFusion(nn.Module):
    """Logits [batch, labels] from the experts' log probabilities [batch, modalities, labels]; learns nothing."""

    def __init__(self, modality_count: int, features: int, label_count: int) -> None:
        super().__init__()

    def forward(self, branches: Tensor, experts: Tensor, used: Tensor, log_prior: Tensor) -> Tensor:
        weights = used.unsqueeze(-1).float()
        return (experts * weights).sum(1) / weights.sum(1).clamp(min=1)
