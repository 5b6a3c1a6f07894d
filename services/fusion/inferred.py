"""What the device made of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Inferred:
    """Log probabilities float64 [2^senses, labels] of each window's subsets, from when to when they took (us).

    encode_us: how much of that was encoding; the rest was fusing.
    """

    rows: Sequence[NDArray[np.float64]]
    began_us: int
    ended_us: int
    encode_us: int

    @property
    def fuse_us(self) -> int:
        return self.ended_us - self.began_us - self.encode_us
