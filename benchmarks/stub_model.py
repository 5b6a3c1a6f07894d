"""A device that is a latency model and no more, behind the interface of the model: what serving costs without inference.

`stub(...)` makes one; `python -m benchmarks.stub_model` is a fusion worker that serves it, told by STUB_… variables how long
the device takes. What it says of a window is a function of the window's number of items alone.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.checkpoint import load as load_model
from model.predictor import Feature, ServedModel, WindowFeatures
from services.fusion.__main__ import plan
from services.kafka.service import run
from services.runtime.settings import load

FEATURES = 8


@dataclass(frozen=True, slots=True)
class StubTiming:
    """How long the device takes for a batch: fixed_ms + each_ms * windows, and item_ms for each item it encodes."""

    fixed_ms: float = 0.30
    each_ms: float = 0.031
    item_ms: Mapping[str, float] = field(default_factory=dict)


class StubModel:
    """Serves like the model whose labels, thresholds and shapes it has; a wait stands for all arithmetic."""

    def __init__(self, like: ServedModel, timing: StubTiming, batch_windows: int | None = None) -> None:
        self.name, self.version, self.digest = "stub", "1", "5" * 64
        self.labels, self.modalities, self.decision = like.labels, like.modalities, like.decision
        self.batch_windows = batch_windows or like.batch_windows
        self.segments_per_window, self.threads = like.segments_per_window, like.threads
        self.conflict_from, self.conformal = like.conflict_from, like.conformal
        self.device = "stub"
        self.costliest_modality = max(like.modalities, key=lambda m: timing.item_ms.get(m, 0.0))
        self.prepare = like.prepare
        self._timing = timing
        drawn = np.random.default_rng(5).normal(0, 1, (1 << len(like.modalities), len(like.labels)))
        self._rows: NDArray[np.float64] = drawn - np.log(np.exp(drawn).sum(1, keepdims=True))

    def encode_all(self, inputs: Mapping[str, Sequence[NDArray[Any]]]) -> dict[str, list[Feature]]:
        """Features float32 [FEATURES] that hold nothing."""
        _busy(sum(self._timing.item_ms.get(modality, 0.0) * len(given) for modality, given in inputs.items()))
        return {modality: [np.zeros(FEATURES, np.float32) for _ in given] for modality, given in inputs.items()}

    def fuse(self, windows: Sequence[WindowFeatures]) -> list[NDArray[np.float64]]:
        """The same log probabilities each time, float64 [2^modalities, labels]; absent senses count for nothing."""
        for at in range(0, len(windows), self.batch_windows):
            _busy(self._timing.fixed_ms + self._timing.each_ms * len(windows[at : at + self.batch_windows]))
        out = []
        for window in windows:
            there = sum(1 << i for i, m in enumerate(self.modalities) if m in window.present)
            out.append(self._rows[np.arange(len(self._rows)) & there])
        return out


def _busy(ms: float) -> None:
    # A sleep gives the interpreter to the other threads, as a device does while it works.
    if ms > 0:
        time.sleep(ms / 1000)


def make_stub(
    timing: StubTiming, batch_windows: int | None, folder: Path, device: str, threads: int | None
) -> ServedModel:
    """The stub in the shape of the checkpoint in a folder."""
    return StubModel(load_model(folder, device, threads), timing, batch_windows)


def main() -> int:
    """A fusion worker with the stub as its device, by the same settings as any other."""
    told = {name: float(os.environ[f"STUB_{name}"]) for name in ("FIXED_MS", "EACH_MS")}
    items = {m: float(os.environ.get(f"STUB_{m.upper()}_MS", "0")) for m in ("text", "video", "audio")}
    timing = StubTiming(told["FIXED_MS"], told["EACH_MS"], items)
    size = int(os.environ["STUB_BATCH"]) if "STUB_BATCH" in os.environ else None
    return run(partial(plan, model=partial(make_stub, timing, size)), load())


if __name__ == "__main__":
    sys.exit(main())
