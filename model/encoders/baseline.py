"""Encoders of the dense baseline: an embedding, 32 convolutions, an LSTM of 128; one plain layer each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.encoders.audio import STEP_FEATURES, STEPS
from model.encoders.image import CHANNELS
from model.encoders.text import PAD

BASELINE_FEATURES = 128
EMBEDDED = 32


class BaselineTextEncoder(nn.Module):
    """The projected mean of learned word embeddings."""

    def __init__(self, word_count: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(word_count + 2, EMBEDDED, padding_idx=PAD)
        self.out = nn.Linear(EMBEDDED, BASELINE_FEATURES)

    def forward(self, rows: Tensor) -> Tensor:
        """Encode rows int64 [batch, WORDS_MAX] to float32 [batch, 128]."""
        known = (rows != PAD).unsqueeze(-1).float()
        mean = (self.embedding(rows) * known).sum(1) / known.sum(1).clamp(min=1)
        return torch.relu(self.out(mean))


class BaselineImageEncoder(nn.Module):
    """32 convolutions, pooled to 2 x 2."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(CHANNELS, 32, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        """Encode images float32 [batch, 4, SIDE, SIDE] to float32 [batch, 128]."""
        features = torch.relu(self.convolution(nn.functional.avg_pool2d(pictures, 2)))
        return nn.functional.adaptive_max_pool2d(features, 2).flatten(1)


class BaselineAudioReader(nn.Module):
    """The last state of an LSTM over segments; segments not received are flagged zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(STEP_FEATURES + 1, BASELINE_FEATURES, batch_first=True)

    def forward(self, segments: Tensor, present: Tensor) -> Tensor:
        """Reduce features of segments to float32 [batch, 128]."""
        batch, count, _ = segments.shape
        flags = present.repeat_interleave(STEPS, dim=1).unsqueeze(-1).float()
        steps = segments.reshape(batch, count * STEPS, STEP_FEATURES)
        _, (last, _) = self.lstm(torch.cat([steps * flags, flags], -1))
        state: Tensor = last[-1]
        return state
