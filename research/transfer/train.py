"""Train sounds against their titles with InfoNCE in both directions (Oord et al. 2018; Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn

from model.data import augment
from model.data.example import Example
from model.decode import RATE
from model.determinism import make_deterministic
from research.transfer.network import SEGMENTS, SoundNetwork, collate_segments
from research.transfer.titles import TitleVectors

# Titles with at least this cosine count as equal; their sounds are all correct matches.
SAME_TITLE_MIN = 0.98
SCALE_MAX = 100.0


@dataclass(frozen=True, slots=True)
class TransferRecipe:
    """Everything that a training depends on besides the clips; `repeats` is how often an epoch uses each clip."""

    epochs: int = 16
    repeats: int = 2
    batch_size: int = 64
    seed: int = 1
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    threads: int = 1


def train_sound_network(
    clips: Sequence[Example],
    titles: TitleVectors,
    recipe: TransferRecipe,
    report: Callable[[int, float], None] = lambda epoch, loss: None,
) -> SoundNetwork:
    """Train a network that maps a sound to its title's vector; labels are not used."""
    make_deterministic(recipe.threads)
    torch.manual_seed(recipe.seed)
    network = SoundNetwork(titles.size)
    steps = max(len(clips) * recipe.repeats // recipe.batch_size, 1) * recipe.epochs
    optimiser = torch.optim.AdamW(network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, max(steps, 3), pct_start=0.1)
    for epoch in range(recipe.epochs):
        rng = np.random.default_rng([recipe.seed, epoch])
        total, examples = 0.0, _augmented_pairs(clips, recipe.repeats, rng)
        size = min(recipe.batch_size, len(examples))
        network.train()
        for begin in range(0, len(examples) - size + 1, size):
            part = examples[begin : begin + size]
            written = torch.from_numpy(titles([e.text or "" for e in part]))
            loss = info_nce(network(*collate_segments(part)), written, network.log_scale)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * size / len(examples)
        report(epoch + 1, total)
    return network.eval()


def info_nce(sounds: Tensor, titles: Tensor, log_scale: Tensor) -> Tensor:
    """Return the mean InfoNCE loss of both directions for unit vectors float32 [batch, size] that are pairs row by row.

    Rows with the same title are equally correct matches of each other.
    """
    scores = sounds @ titles.T * log_scale.exp().clamp(max=SCALE_MAX)
    same = (titles @ titles.T > SAME_TITLE_MIN) | torch.eye(len(titles), dtype=torch.bool)
    right = same.float() / same.sum(1, keepdim=True)
    by_sound = nn.functional.cross_entropy(scores, right)
    return (by_sound + nn.functional.cross_entropy(scores.T, right)) / 2


def _augmented_pairs(clips: Sequence[Example], repeats: int, rng: Generator) -> list[Example]:
    """Return each clip `repeats` times, with another distance and background and some title words dropped."""
    pairs = []
    for clip in clips:
        for _ in range(repeats):
            bed = clips[int(rng.integers(len(clips)))]
            assert clip.audio is not None
            assert bed.audio is not None
            sound = augment.change_distance(augment.change_pace(clip.audio, rng), bed.audio, SEGMENTS * RATE // 2, rng)
            pairs.append(replace(clip, text=augment.drop_title_words(clip.text or "", rng), audio=sound))
    return [pairs[i] for i in rng.permutation(len(pairs))]
