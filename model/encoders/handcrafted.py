"""Encoders without learned weights, for private training: they cannot hold anything of a sample.

With few samples, such features cost less privacy than learned ones (Tramèr and Boneh 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.encoders.audio import STEP_FEATURES, STEPS
from model.encoders.text import PAD

FIXED_FEATURES = 512
DIRECTIONS = 8
CELLS = 8
SPAN = 9
SEED = 11


def edge_filters() -> Tensor:
    """Return Sobel filters in eight directions, float32 [DIRECTIONS, 1, 3, 3] (Dalal and Triggs 2005)."""
    across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    angles = torch.arange(DIRECTIONS) * (2 * torch.pi / DIRECTIONS)
    return (angles.cos()[:, None, None] * across + angles.sin()[:, None, None] * across.T).unsqueeze(1)


def normalize_counts(features: Tensor) -> Tensor:
    """Take square roots and scale to unit length, [batch, features]."""
    return nn.functional.normalize((features.clamp(min=0) + 1e-9).sqrt(), dim=-1)


class FixedTextEncoder(nn.Module):
    """Hashed words and pairs of neighbouring words."""

    def forward(self, rows: Tensor) -> Tensor:
        """Encode rows int64 [batch, WORDS_MAX] to float32 [batch, 512]."""
        half = FIXED_FEATURES // 2
        pairs = torch.where((rows[:, :-1] != PAD) & (rows[:, 1:] != PAD), rows[:, :-1] * 7_919 + rows[:, 1:], PAD)
        one_hot = [nn.functional.one_hot(v % half, half) * (v != PAD).unsqueeze(-1) for v in (rows, pairs)]
        return normalize_counts(torch.cat([v.sum(1) for v in one_hot], 1).float())


class FixedImageEncoder(nn.Module):
    """Edges by direction in 8 x 8 cells."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("edges", edge_filters())

    def forward(self, pictures: Tensor) -> Tensor:
        """Encode images float32 [batch, 4, SIDE, SIDE] to float32 [batch, 512]."""
        grey = nn.functional.avg_pool2d(pictures[:, :3].mean(1, keepdim=True), 2)
        edges = torch.relu(nn.functional.conv2d(grey, self.get_buffer("edges"), padding=1))
        return normalize_counts(nn.functional.adaptive_avg_pool2d(edges, CELLS).flatten(1))


class FixedAudioReader(nn.Module):
    """The largest correlation, at any time, with each of 512 random patterns."""

    def __init__(self) -> None:
        super().__init__()
        drawn = torch.Generator().manual_seed(SEED)
        patterns = torch.randn(FIXED_FEATURES, STEP_FEATURES, SPAN, generator=drawn)
        self.register_buffer("patterns", (patterns / (STEP_FEATURES * SPAN) ** 0.5).half())

    def forward(self, segments: Tensor, present: Tensor) -> Tensor:
        """Reduce features of segments to float32 [batch, 512]."""
        batch, count, _ = segments.shape
        known = present.repeat_interleave(STEPS, dim=1).unsqueeze(1)
        steps = segments.reshape(batch, count * STEPS, STEP_FEATURES).transpose(1, 2) * known
        near = nn.functional.conv1d(steps, self.get_buffer("patterns").float(), padding=SPAN // 2)
        return normalize_counts(torch.relu(near.masked_fill(~known, 0.0)).amax(2))
