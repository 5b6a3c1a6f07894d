"""Sounds into the space of titles."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.data.example import Example
from model.encoders.lexicon import Lexicon
from model.encoders.robust_audio import RobustAudioEncoder, RobustAudioReader
from model.modality import FEATURES
from model.tensors import collate_examples

SEGMENTS = 8


class SoundNetwork(nn.Module):
    """Segments float32 [batch, places, SEGMENT_SAMPLES] to points of unit length float32 [batch, size]."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.encoder = RobustAudioEncoder()
        self.reader = RobustAudioReader(FEATURES)
        self.out = nn.Linear(FEATURES, size)
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def forward(self, segments: Tensor, present: Tensor) -> Tensor:
        features = self.encoder(segments.flatten(0, 1)).view(*segments.shape[:2], -1)
        return nn.functional.normalize(self.out(self.reader(features, present)), dim=-1)


def collate_segments(examples: list[Example]) -> tuple[Tensor, Tensor]:
    """The sounds of examples cut into segments, and which of the segments are there."""
    tensors = collate_examples(examples, ("audio",), Lexicon(()), SEGMENTS)
    return tensors.inputs["audio"], tensors.present["audio"]


@torch.no_grad()
def embed_sounds(network: SoundNetwork, examples: list[Example], rows: int = 64) -> Tensor:
    """Where sounds lie, float32 [examples, size]."""
    network.eval()
    parts = [network(*collate_segments(examples[at : at + rows])) for at in range(0, len(examples), rows)]
    return torch.cat(parts)
