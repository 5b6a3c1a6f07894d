"""The network of the streams model: three encoders, a head per branch, mean fusion, and the product of experts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from model.encoders.audio import STEP_FEATURES, STEPS, SegmentEncoder, SoundReader
from model.encoders.image import ImageEncoder
from model.encoders.text import TextEncoder

MODALITIES = ("text", "video", "audio")
FEATURES = 64
ITEMS_MAX = {"text": 4, "video": 8}


def subset_mask(index: int) -> tuple[bool, ...]:
    """Return which modalities a subset uses: bit i of the index is the i-th modality."""
    return tuple(bool(index >> i & 1) for i in range(len(MODALITIES)))


class StreamsNetwork(nn.Module):
    """Encoders, branches and heads. An absent branch is masked, not zero."""

    modalities = MODALITIES

    def __init__(self, label_count: int, word_count: int, vector_size: int) -> None:
        super().__init__()
        self.text = TextEncoder(word_count, vector_size, FEATURES)
        self.video = ImageEncoder(FEATURES)
        self.segment = SegmentEncoder()
        self.sound = SoundReader(FEATURES)
        self.heads = nn.ModuleDict({m: nn.Linear(FEATURES, label_count) for m in MODALITIES})
        self.mean_head = nn.Sequential(nn.Linear(FEATURES, FEATURES), nn.ReLU(), nn.Linear(FEATURES, label_count))
        # Calibration, fitted after training: temperatures by expert and by subset, the class prior, the weight of the mean
        # head, and P(label of the window | label that one modality shows): a silent microphone says little about a
        # digit that is shown.
        self.register_buffer("temperature", torch.ones(len(MODALITIES)))
        self.register_buffer("meaning", torch.eye(label_count).repeat(len(MODALITIES), 1, 1))
        self.register_buffer("subset_temperature", torch.ones(1 << len(MODALITIES)))
        self.register_buffer("log_prior", torch.full((label_count,), -float(label_count)).log_softmax(0))
        self.register_buffer("mean_weight", torch.tensor(0.5))
        # Which modalities each subset uses, [8, 3]; buffers, so that they are on the device.
        subsets = torch.tensor([subset_mask(index) for index in range(1 << len(MODALITIES))])
        self.register_buffer("subsets", subsets, persistent=False)
        self.register_buffer("bits", torch.tensor([1, 2, 4]), persistent=False)

    def item_encoder(self, modality: str) -> nn.Module:
        """Return the encoder of a modality's items."""
        return {"text": self.text, "video": self.video, "audio": self.segment}[modality]

    def item_shape(self, modality: str, segments: int) -> tuple[int, int]:
        """Return the number of places and the feature length of a modality's items in one window."""
        return (segments, STEPS * STEP_FEATURES) if modality == "audio" else (ITEMS_MAX[modality], FEATURES)

    def branches(self, items: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Return the branches float32 [batch, 3, FEATURES] from item features [batch, items, …] and bool masks of present items."""
        v_text = _mean(items["text"], present["text"])
        v_video = _mean(items["video"], present["video"])
        v_audio = self.sound(items["audio"], present["audio"])
        return torch.stack([v_text, v_video, v_audio], 1)

    def expert_logits(self, branches: Tensor) -> Tensor:
        """Return the uncalibrated logits of each branch, [batch, 3, labels]."""
        return torch.stack([self.heads[m](branches[:, i]) for i, m in enumerate(MODALITIES)], 1)

    def experts(self, branches: Tensor) -> Tensor:
        """Return log p(label of the window | one modality), [batch, 3, labels]."""
        warm, meaning = cast(Tensor, self.temperature), cast(Tensor, self.meaning)
        own = torch.softmax(self.expert_logits(branches) / warm[None, :, None], -1)
        return torch.log(torch.einsum("bml,mlk->bmk", own, meaning).clamp(min=1e-9))

    def mean_logits(self, branches: Tensor, present: Tensor) -> Tensor:
        """Return the logits of mean fusion: the mean of the present branches, then a head; present bool [batch, 3]."""
        logits: Tensor = self.mean_head(_mean(branches, present))
        return logits

    def subset_log_probs(self, branches: Tensor, present: Tensor) -> Tensor:
        """Return the log probabilities of all subsets, [batch, 8, labels]; absent modalities of a subset are ignored."""
        prior = cast(Tensor, self.log_prior)
        experts = self.experts(branches)
        rows = []
        for index in range(1 << len(MODALITIES)):
            used = present & cast(Tensor, self.subsets)[index]
            rows.append(self._one_subset(experts, branches, used, prior))
        return torch.stack(rows, 1)

    def _one_subset(self, experts: Tensor, branches: Tensor, used: Tensor, prior: Tensor) -> Tensor:
        count = used.sum(1, keepdim=True).float()
        total = (experts * used.unsqueeze(-1)).sum(1) - (count - 1) * prior  # the prior itself where none is used
        product_of_experts = torch.log_softmax(total, -1)
        weight = torch.where(count > 1, cast(Tensor, self.mean_weight), 0.0)
        mean = torch.log_softmax(self.mean_logits(branches, used), -1)
        mixed = torch.log_softmax(weight * mean + (1 - weight) * product_of_experts, -1)
        by_index = (used * cast(Tensor, self.bits)).sum(1)
        return torch.log_softmax(mixed / cast(Tensor, self.subset_temperature)[by_index].unsqueeze(-1), -1)


def _mean(items: Tensor, present: Tensor) -> Tensor:
    weights = present.unsqueeze(-1).float()
    return (items * weights).sum(1) / weights.sum(1).clamp(min=1)
