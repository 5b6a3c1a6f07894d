"""The network of a task: an encoder, a reader and a head per modality, and one fusion over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from model.fusion import FUSIONS
from model.modality import MODALITIES, EncoderConfig

# Limit of a branch's effect on the logarithm of its own temperature.
WARMTH_MAX = 1.0


@dataclass(frozen=True, slots=True)
class Architecture:
    """The structure of a task network, as the checkpoint's config holds it; `encoders` overrides the fusion's kind."""

    modalities: tuple[str, ...]
    label_count: int
    word_count: int
    vector_size: int
    fusion: str
    width: float = 1.0
    encoders: str | None = None

    @property
    def encoder_config(self) -> EncoderConfig:
        """The configuration of the encoders."""
        kind = self.encoders or FUSIONS[self.fusion].encoders
        return EncoderConfig(self.word_count, self.vector_size, kind, self.width)


class TaskNetwork(nn.Module):
    """Branches, experts and their fusion. An absent branch is masked, not zero."""

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = a = architecture
        self.modalities = a.modalities
        count, features = len(a.modalities), a.encoder_config.features
        self.encoders = nn.ModuleDict({m: MODALITIES[m].encoder(a.encoder_config) for m in a.modalities})
        self.readers = nn.ModuleDict({m: MODALITIES[m].reader(a.encoder_config) for m in a.modalities})
        self.heads = nn.ModuleDict({m: nn.Linear(features, a.label_count) for m in a.modalities})
        self.fusion = FUSIONS[a.fusion].make(count, features, a.label_count)
        # Calibration, fitted after training: a temperature per expert, changed by its branch's features (`warmth`: coarse
        # images and noisy audio need a higher one), a temperature per subset, and the class prior.
        self.register_buffer("temperature", torch.ones(count))
        self.register_buffer("warmth", torch.zeros(count, features))
        self.register_buffer("subset_temperature", torch.ones(1 << count))
        self.register_buffer("log_prior", torch.zeros(a.label_count).log_softmax(0))
        self.register_buffer("bits", 1 << torch.arange(count), persistent=False)

    def item_encoder(self, modality: str) -> nn.Module:
        """Return the encoder of a modality's items."""
        return self.encoders[modality]

    def item_shape(self, modality: str, segments: int) -> tuple[int, int]:
        """Return the number of places and the feature length of a modality's items in one window."""
        registered = MODALITIES[modality]
        places = segments if registered.items_max is None else registered.items_max
        return places, registered.item_size or self.architecture.encoder_config.features

    def branches(self, items: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Return the branches float32 [batch, modalities, features] from item features and bool masks of present items."""
        return torch.stack([self.readers[m](items[m], present[m]) for m in self.modalities], 1)

    def expert_logits(self, branches: Tensor) -> Tensor:
        """Return the uncalibrated logits of each branch, [batch, modalities, labels]."""
        return torch.stack([self.heads[m](branches[:, i]) for i, m in enumerate(self.modalities)], 1)

    def expert_log_probs(self, branches: Tensor) -> Tensor:
        """Return the calibrated log p(label | one modality), [batch, modalities, labels]."""
        log_factor = (branches * cast(Tensor, self.warmth)).sum(-1, keepdim=True)
        # The clamp limits the effect of features unlike any of the validation samples.
        temperature = cast(Tensor, self.temperature)[None, :, None] * torch.exp(
            log_factor.clamp(-WARMTH_MAX, WARMTH_MAX)
        )
        return torch.log_softmax(self.expert_logits(branches) / temperature, -1)

    def fuse(self, branches: Tensor, experts: Tensor, used: Tensor) -> Tensor:
        """Fuse the used branches into log probabilities [batch, labels]; the prior if none is used."""
        prior = cast(Tensor, self.log_prior)
        rows = torch.log_softmax(self.fusion(branches, experts, used, prior), -1)
        index = (used * cast(Tensor, self.bits)).sum(1)
        calibrated = torch.log_softmax(rows / cast(Tensor, self.subset_temperature)[index].unsqueeze(-1), -1)
        return torch.where(used.any(1, keepdim=True), calibrated, prior)

    def subset_log_probs(self, branches: Tensor, present: Tensor) -> Tensor:
        """Return the log probabilities of all subsets, [batch, 2^modalities, labels]; absent modalities of a subset are ignored."""
        count = len(self.modalities)
        indices = torch.arange(1 << count, device=branches.device)
        chosen = (indices[:, None] & cast(Tensor, self.bits)) > 0
        used = (present[:, None] & chosen).flatten(0, 1)
        experts = self.expert_log_probs(branches)
        rows: Tensor = self.fuse(
            branches.repeat_interleave(1 << count, 0), experts.repeat_interleave(1 << count, 0), used
        )
        return rows.view(len(branches), 1 << count, -1)
