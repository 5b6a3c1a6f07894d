"""Collate examples into tensors, and compute a network's branches from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.data.example import Example
from model.encoders.audio import SEGMENT_SAMPLES
from model.encoders.text import Lexicon
from model.modality import MODALITIES
from model.network import TaskNetwork

Mask = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class ExampleBatch:
    """Encoder inputs [rows, places, …] by modality, bool masks [rows, places] of present items, and labels int64 [rows]."""

    inputs: Mapping[str, Tensor]
    present: Mapping[str, Tensor]
    labels: Tensor

    def rows(self, begin: int, end: int) -> ExampleBatch:
        """Return the rows from `begin` to `end`."""
        return ExampleBatch(
            {m: values[begin:end] for m, values in self.inputs.items()},
            {m: values[begin:end] for m, values in self.present.items()},
            self.labels[begin:end],
        )


def collate_examples(
    examples: Sequence[Example], modalities: Sequence[str], lexicon: Lexicon, segments: int
) -> ExampleBatch:
    """Collate examples; audio is cut into segments, of which at most `segments` count."""
    inputs, present = {}, {}
    for m in modalities:
        parts = [_prepare_items(m, e, lexicon)[:segments] for e in examples]
        places = segments if MODALITIES[m].on_grid else 1
        first = next((items[0] for items in parts if items), None)
        if first is None:
            first = MODALITIES[m].prepare(MODALITIES[m].blank, lexicon)
        values = np.zeros((len(examples), places, *first.shape), first.dtype)
        known = np.zeros((len(examples), places), np.bool_)
        for row, items in enumerate(parts):
            for place, item in enumerate(items):
                values[row, place], known[row, place] = item, True
        inputs[m], present[m] = torch.from_numpy(values), torch.from_numpy(known)
    return ExampleBatch(inputs, present, torch.tensor([e.label for e in examples]))


def compute_branches(network: TaskNetwork, batch: ExampleBatch, mask: Mask | None = None) -> tuple[Tensor, Tensor]:
    """Return branches float32 [rows, modalities, features] and a bool mask [rows, modalities] of present modalities.

    Args:
        network: The network.
        batch: The examples.
        mask: Masks parts of audio spectra, for training.
    """
    items: dict[str, Tensor] = {}
    for m in network.modalities:
        values, encoder = batch.inputs[m], network.item_encoder(m)
        flat = values.flatten(0, 1)
        if mask is not None and m == "audio":
            with torch.no_grad():
                spectrum = mask(encoder.spectrum(flat))  # type: ignore[operator]
            features = encoder.encode_spectrum(spectrum)  # type: ignore[operator]
        else:
            features = encoder(flat)
        items[m] = (features * MODALITIES[m].has_content(flat)).view(*values.shape[:2], -1)
    masks, present = present_evidence(items, batch.present)
    return network.branches(items, masks), present


def present_evidence(items: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], Tensor]:
    """Return which items count and, bool [rows, modalities], which modalities show anything.

    An item without content is encoded as zeros. On a grid it keeps its place: received silence between sounds differs from
    a gap, but silence alone shows nothing.

    Args:
        items: Features [rows, places, …] by modality.
        masks: Which of them were received, bool [rows, places].
    """
    content = {m: mask & (items[m] != 0).any(-1) for m, mask in masks.items()}
    present = torch.stack([mask.any(1) for mask in content.values()], 1)
    return {m: masks[m] if MODALITIES[m].on_grid else mask for m, mask in content.items()}, present


@torch.no_grad()
def encode_branches(network: TaskNetwork, batch: ExampleBatch, rows: int = 64) -> tuple[Tensor, Tensor]:
    """Compute branches without gradients, `rows` examples at a time."""
    parts = [compute_branches(network, batch.rows(begin, begin + rows)) for begin in range(0, len(batch.labels), rows)]
    branches, present = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return branches, present


def _prepare_items(modality: str, example: Example, lexicon: Lexicon) -> list[NDArray[np.generic]]:
    value = example.value(modality)
    if value is None:
        return []
    prepare = MODALITIES[modality].prepare
    if not MODALITIES[modality].on_grid:
        return [prepare(value, lexicon)]
    return [prepare(value[begin : begin + SEGMENT_SAMPLES], lexicon) for begin in range(0, len(value), SEGMENT_SAMPLES)]
