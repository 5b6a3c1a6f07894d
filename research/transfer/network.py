"""Embed sounds in the space of titles."""

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
    """Audio encoder and reader with a projection to title vectors."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.encoder = RobustAudioEncoder()
        self.reader = RobustAudioReader(FEATURES)
        self.out = nn.Linear(FEATURES, size)
        self.log_scale = nn.Parameter(torch.tensor(2.3))

    def forward(self, segments: Tensor, present: Tensor) -> Tensor:
        """Embed segments float32 [batch, places, SEGMENT_SAMPLES] as unit vectors float32 [batch, size]."""
        features = self.encoder(segments.flatten(0, 1)).view(*segments.shape[:2], -1)
        return nn.functional.normalize(self.out(self.reader(features, present)), dim=-1)


def collate_segments(examples: list[Example]) -> tuple[Tensor, Tensor]:
    """Cut the audio of examples into segments; return them with a mask of the present ones."""
    tensors = collate_examples(examples, ("audio",), Lexicon(()), SEGMENTS)
    return tensors.inputs["audio"], tensors.present["audio"]


@torch.no_grad()
def embed_sounds(network: SoundNetwork, examples: list[Example], rows: int = 64) -> Tensor:
    """Embed the audio of examples, float32 [examples, size]."""
    network.eval()
    parts = [network(*collate_segments(examples[begin : begin + rows])) for begin in range(0, len(examples), rows)]
    return torch.cat(parts)
