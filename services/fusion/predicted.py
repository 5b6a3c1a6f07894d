"""What the model made of one window, on its way to the topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from services.contract.prediction import Answer
from services.contract.reason import Rejected
from services.contract.window import Member, Window


@dataclass(frozen=True, slots=True)
class Predicted:
    """One window's prediction record, the log probabilities of all subsets, and the members that cannot be used.

    rows float64 [2^senses, labels]: bit i of a row's index is the i-th of `senses`; both empty where nothing was inferred.
    level: of overload, by what was left out.
    """

    id: str
    window: Window
    value: bytes
    answer: Answer
    rows: NDArray[np.float64]
    unusable: Sequence[tuple[str, Member, Rejected]]
    senses: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    level: int = 0
    contributions: Mapping[str, float] = field(default_factory=dict)
