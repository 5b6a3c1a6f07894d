"""The running average of weights, which stands nearer to the middle of what training found (Polyak and Juditsky 1992)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

DECAY = 0.995


class Average:
    """Averages a network's state as it trains; young averages forget faster."""

    def __init__(self, network: nn.Module) -> None:
        self.state: dict[str, Tensor] = {name: value.clone() for name, value in network.state_dict().items()}
        self.steps = 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take the network's present weights in."""
        self.steps += 1
        decay = min(DECAY, self.steps / (self.steps + 20))
        for name, value in network.state_dict().items():
            if value.dtype == torch.float32:
                self.state[name].lerp_(value, 1 - decay)
            else:
                self.state[name].copy_(value)
