"""How long the device takes for a batch: a line through what it took so far. Pure."""

from __future__ import annotations

# Of a batch's weight so much is left after each later one: a few dozen batches are remembered.
MEMORY = 0.97


class LatencyModel:
    """duration = each_us * windows + fixed_us, by least squares in which old batches count less; neither is below 0."""

    def __init__(self) -> None:
        self._weight = self._n = self._us = self._nn = self._n_us = 0.0

    def observe(self, windows: int, us: float) -> None:
        """A batch of so many windows took so long."""
        self._weight = MEMORY * self._weight + 1
        self._n = MEMORY * self._n + windows
        self._us = MEMORY * self._us + us
        self._nn = MEMORY * self._nn + windows * windows
        self._n_us = MEMORY * self._n_us + windows * us

    @property
    def each_us(self) -> float:
        """What one window more costs; 0 while all batches were of one size."""
        spread = self._weight * self._nn - self._n**2
        if spread <= 1e-6 * self._weight**2:
            return 0.0
        slope = (self._weight * self._n_us - self._n * self._us) / spread
        # A line through the origin is the steepest that leaves nothing below 0 for an empty batch.
        return min(max(slope, 0.0), self._us / self._n)

    @property
    def fixed_us(self) -> float:
        """What a batch costs however small it is; 0 before the first one."""
        return (self._us - self.each_us * self._n) / self._weight if self._weight else 0.0

    def us(self, windows: int) -> float:
        """What a batch of so many windows will take."""
        return self.fixed_us + self.each_us * windows
