"""Sensor readings: two dense layers over the values and over which of them are present."""

from __future__ import annotations

from torch import Tensor, nn

from model.decode import READINGS

UNITS = 32


class SensorEncoder(nn.Module):
    """Two dense layers."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * len(READINGS), UNITS), nn.ReLU(), nn.Linear(UNITS, features), nn.ReLU()
        )

    def forward(self, readings: Tensor) -> Tensor:
        """Encode readings float32 [batch, 2 * readings] to float32 [batch, features]."""
        features: Tensor = self.layers(readings)
        return features
