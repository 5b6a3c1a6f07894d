"""Sounds into the space of titles."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.data.example import Example
from model.encoders.lexicon import Lexicon
from model.encoders.robust_audio import HearingEncoder, HearingReader
from model.modality import FEATURES
from model.tensors import tensors_of

SEGMENTS = 8


class SoundNetwork(nn.Module):
    """Segments float32 [batch, places, SEGMENT_SAMPLES] to points of unit length float32 [batch, size]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.encoder = HearingEncoder()
        self.reader = HearingReader(FEATURES)
        self.out = nn.Linear(FEATURES, size)
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def forward(self, segments: Tensor, there: Tensor) -> Tensor:
        features = self.encoder(segments.flatten(0, 1)).view(*segments.shape[:2], -1)
        return nn.functional.normalize(self.out(self.reader(features, there)), dim=-1)


def segments_of(examples: list[Example]) -> tuple[Tensor, Tensor]:
    """The sounds of examples cut into segments, and which of the segments are there."""
    tensors = tensors_of(examples, ("audio",), Lexicon(()), SEGMENTS)
    return tensors.inputs["audio"], tensors.there["audio"]


@torch.no_grad()
def placed(network: SoundNetwork, examples: list[Example], rows: int = 64) -> Tensor:
    """Where sounds lie, float32 [examples, size]."""
    network.eval()
    parts = [network(*segments_of(examples[at : at + rows])) for at in range(0, len(examples), rows)]
    return torch.cat(parts)
