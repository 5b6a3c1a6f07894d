"""The recipe of a training."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TaskRecipe:
    """Everything that a training depends on besides the data; it determines the weights on one machine.

    Attributes:
        patience: Epochs without a better validation after which training stops.
        drop: Chance that a modality is left out of the fusion's own loss.
        distil: Weight of the loss by which subsets learn from the full set.
        residual_epochs: Epochs of the residual, after the branches.
        unseen: Chance that a word is read as unknown.
        babble: Chance that a sentence has only unknown or only random words.
        segments: Audio segments of a sample that count.
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
