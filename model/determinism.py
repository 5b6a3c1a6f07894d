"""Training that comes out the same each time on one machine."""

from __future__ import annotations

import torch


def make_deterministic(threads: int) -> None:
    """Only operations with one order of summing, on so many threads, for this process."""
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    # Filling memory that is written over anyway finds faults of operators, and takes a seventh of the training.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
