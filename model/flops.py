"""How much arithmetic a function of tensors takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def flops(work: Callable[[], Any]) -> int:
    """Floating-point operations of its products of matrices and convolutions, a multiplication and an addition as two."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())
