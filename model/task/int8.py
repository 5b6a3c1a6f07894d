"""Weights in eight bits: each row of a matrix as int8 times one scale; read back as float32, so it serves like any other."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

SCALE = ":scale"
# Below this many values the scales and the header of a tensor weigh as much as is saved.
VALUES_MIN = 256


def packed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices and kernels as int8 [rows, ...] with float16 scales [rows] under `name:scale`; small ones in float16."""
    out: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if not value.is_floating_point():
            out[name] = value
        elif value.dim() > 1 and value.numel() >= VALUES_MIN:
            rows = value.float().flatten(1)
            scale = (rows.abs().amax(1) / 127).clamp(min=1e-6).half()
            out[name] = (rows / scale.float()[:, None]).round().clamp(-127, 127).to(torch.int8).view_as(value)
            out[name + SCALE] = scale
        else:
            out[name] = value.half() if value.numel() > 1 else value
    return out


def opened(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `packed` made as float32 tensors again; others as they are."""
    out: dict[str, Tensor] = {}
    for name, value in tensors.items():
        if name.endswith(SCALE):
            continue
        scale = tensors.get(name + SCALE)
        if scale is not None:
            value = value.float() * scale.float().view(-1, *[1] * (value.dim() - 1))
        out[name] = value
    return out
