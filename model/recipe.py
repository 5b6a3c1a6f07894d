"""What a training depends on beside the data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TaskRecipe:
    """The same recipe and data give the same weights on one machine.

    patience: epochs without a better validation after which training stops; drop: chance that a modality is left out
    of the fusion's own loss; distil: weight of what subsets learn from the full set; residual_epochs: of a fusion's
    residual, after the branches; unseen: chance that a word is read as unknown; babble: chance that a whole sentence is
    of no known word, or of words by chance.
    """

    fusion: str = "gated"
    epochs: int = 45
    batch_size: int = 32
    seed: int = 7
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    smoothing: float = 0.0
    patience: int = 20
    drop: float = 0.3
    distil: float = 0.5
    residual_epochs: int = 6
    unseen: float = 0.03
    babble: float = 0.05
    segments: int = 4
    threads: int = 1
