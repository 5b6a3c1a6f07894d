"""The product of calibrated experts: sum of log p(label | modality) minus (n - 1) log prior.

Exact where modalities are independent given the label (Hinton 2002; Kittler et al. 1998).
"""

from __future__ import annotations

from torch import Tensor, nn


class ExpertsFusion(nn.Module):
    """Logits [batch, labels]; the prior itself where none is used. Learns nothing."""

    def __init__(self, modality_count: int, features: int, label_count: int) -> None:
        super().__init__()

    def forward(self, branches: Tensor, experts: Tensor, used: Tensor, log_prior: Tensor) -> Tensor:
        count = used.sum(1, keepdim=True).float()
        return (experts * used.unsqueeze(-1)).sum(1) - (count - 1) * log_prior
