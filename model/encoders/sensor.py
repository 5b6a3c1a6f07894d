"""Readings of sensors: two dense layers over the numbers and over which of them were made."""

from __future__ import annotations

from torch import Tensor, nn

from model.decode import READINGS

UNITS = 32


class SensorEncoder(nn.Module):
    """Readings float32 [batch, 2 * readings] to features float32 [batch, features]."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * len(READINGS), UNITS), nn.ReLU(), nn.Linear(UNITS, features), nn.ReLU()
        )

    def forward(self, readings: Tensor) -> Tensor:
        seen: Tensor = self.layers(readings)
        return seen
