"""Wide encoders of Transformer layers, for what a GPU can carry: 32 million parameters with their readers and heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.encoders.audio import MELS, STEP_FEATURES, STEPS
from model.encoders.image import SIDE
from model.encoders.robust_audio import VIEWS, SegmentSpectrum
from model.encoders.robust_image import CHANNELS
from model.encoders.text import PAD, WORDS_MAX

BASE_FEATURES, HEADS = 512, 8
PATCH, SEGMENTS_MAX = 8, 16
# Frames of 10 ms that one place of a segment holds, and its places.
FRAMES, PLACES = 2, 25
TEXT_LAYERS, PICTURE_LAYERS, SOUND_LAYERS, READER_LAYERS = 2, 3, 3, 1


class Layer(nn.Module):
    """Attention and a dense part, each about a normalised input (Xiong et al. 2020), [batch, places, BASE_FEATURES]."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(BASE_FEATURES), nn.LayerNorm(BASE_FEATURES)
        self.asked = nn.Linear(BASE_FEATURES, 3 * BASE_FEATURES)
        self.told = nn.Linear(BASE_FEATURES, BASE_FEATURES)
        self.dense = nn.Sequential(
            nn.Linear(BASE_FEATURES, 4 * BASE_FEATURES), nn.GELU(), nn.Linear(4 * BASE_FEATURES, BASE_FEATURES)
        )

    def forward(self, seen: Tensor, there: Tensor | None) -> Tensor:
        batch, places, _ = seen.shape
        q, k, v = self.asked(self.before(seen)).view(batch, places, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        mask = None if there is None else there[:, None, None]
        found = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        seen = seen + self.told(found.transpose(1, 2).flatten(2))
        dense: Tensor = seen + self.dense(self.between(seen))
        return dense


class Layers(nn.Module):
    """Places to the mean of those that are there: [batch, places, BASE_FEATURES] to [batch, BASE_FEATURES]."""

    def __init__(self, places: int, layers: int) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.randn(places, BASE_FEATURES) * 0.02)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.after = nn.LayerNorm(BASE_FEATURES)

    def forward(self, seen: Tensor, there: Tensor | None = None) -> Tensor:
        seen = self.everywhere(seen, there)
        if there is None:
            return seen.mean(1)
        weights = there.unsqueeze(-1).to(seen.dtype)
        return (seen * weights).sum(1) / weights.sum(1).clamp(min=1)

    def everywhere(self, seen: Tensor, there: Tensor | None = None) -> Tensor:
        """The same at each place, [batch, places, BASE_FEATURES]."""
        seen = seen + self.place[: seen.shape[1]]
        for layer in self.layers:
            seen = layer(seen, there)
        normal: Tensor = self.after(seen)
        return normal


class BaseText(nn.Module):
    """Rows int64 [batch, WORDS_MAX] to features float32 [batch, BASE_FEATURES]."""

    def __init__(self, word_count: int) -> None:
        super().__init__()
        self.words = nn.Embedding(word_count + 2, BASE_FEATURES, padding_idx=PAD)
        self.layers = Layers(WORDS_MAX, TEXT_LAYERS)

    def forward(self, rows: Tensor) -> Tensor:
        # The first place is always read: a softmax over no place at all has no value.
        there = torch.cat([torch.ones_like(rows[:, :1], dtype=torch.bool), rows[:, 1:] != PAD], 1)
        return torch.relu(self.layers(self.words(rows), there)).float()


class BasePicture(nn.Module):
    """Pictures float32 [batch, CHANNELS, SIDE, SIDE] in patches to features float32 [batch, BASE_FEATURES]."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(CHANNELS, BASE_FEATURES, PATCH, stride=PATCH)
        self.layers = Layers((SIDE // PATCH) ** 2, PICTURE_LAYERS)

    def forward(self, pictures: Tensor) -> Tensor:
        return torch.relu(self.layers(self.patches(pictures).flatten(2).transpose(1, 2))).float()


class BaseSegment(nn.Module):
    """Samples of one segment to its feature float32 [batch, STEPS * STEP_FEATURES]; the log-mel is made where it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.spectrum = SegmentSpectrum()
        self.frames = nn.Conv1d(VIEWS * MELS, BASE_FEATURES, FRAMES, stride=FRAMES)
        self.layers = Layers(PLACES, SOUND_LAYERS)
        self.out = nn.Linear(BASE_FEATURES, STEP_FEATURES)

    def forward(self, samples: Tensor) -> Tensor:
        # Powers of sound span more than bfloat16 tells apart.
        with torch.autocast(samples.device.type, enabled=False):
            spectrum = self.spectrum(samples)
        seen = self.layers.everywhere(self.frames(spectrum.flatten(1, 2)[..., : FRAMES * PLACES]).transpose(1, 2))
        steps = nn.functional.adaptive_avg_pool1d(seen.transpose(1, 2), STEPS).transpose(1, 2)
        return torch.relu(self.out(steps)).flatten(1).float()


class BaseReader(nn.Module):
    """Features of the window's segments to one feature float32 [batch, BASE_FEATURES]."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Linear(STEP_FEATURES, BASE_FEATURES)
        self.layers = Layers(SEGMENTS_MAX * STEPS, READER_LAYERS)

    def forward(self, segments: Tensor, there: Tensor) -> Tensor:
        batch, count, _ = segments.shape
        steps = self.wide(segments.reshape(batch, count * STEPS, STEP_FEATURES))
        known = there.repeat_interleave(STEPS, dim=1)
        first = torch.cat([torch.ones_like(known[:, :1]), known[:, 1:]], 1)
        return torch.relu(self.layers(steps, first)).float()
