"""A stub with the interface of the model that only waits: it shows what serving costs without inference.

`python -m benchmarks.stub_model` is a fusion worker that serves the stub; STUB_… variables set how long it waits. Its
prediction depends only on which modalities a window has.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
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
    """How long the stub waits for a batch: `fixed_ms` + `each_ms` per window, and `item_ms` per encoded input."""

    fixed_ms: float = 0.30
    each_ms: float = 0.031
    item_ms: Mapping[str, float] = field(default_factory=dict)


class StubModel:
    """A served model with the labels, thresholds and shapes of another; it waits instead of computing."""

    def __init__(self, like: ServedModel, timing: StubTiming, batch_windows: int | None = None) -> None:
        self.name, self.version, self.digest = "stub", "1", sha256(b"stub").hexdigest()
        self.labels, self.modalities, self.decision = like.labels, like.modalities, like.decision
        self.batch_windows = batch_windows or like.batch_windows
        self.segments_per_window, self.threads = like.segments_per_window, like.threads
        self.conflict_from, self.conformal = like.conflict_from, like.conformal
        self.device = "stub"
        self.costliest_modality = max(like.modalities, key=lambda m: timing.item_ms.get(m, 0.0))
        self.decode, self.prepare = like.decode, like.prepare
        self._timing = timing
        logits = np.random.default_rng(5).normal(0, 1, (1 << len(like.modalities), len(like.labels)))
        self._rows: NDArray[np.float64] = logits - np.log(np.exp(logits).sum(1, keepdims=True))

    def encode_all(self, inputs: Mapping[str, Sequence[NDArray[Any]]]) -> dict[str, list[Feature]]:
        """Return zeros, float32 [FEATURES], for each input."""
        _wait(sum(self._timing.item_ms.get(modality, 0.0) * len(given) for modality, given in inputs.items()))
        return {modality: [np.zeros(FEATURES, np.float32) for _ in given] for modality, given in inputs.items()}

    def fuse(self, windows: Sequence[WindowFeatures]) -> list[NDArray[np.float64]]:
        """Return constant log probabilities, float64 [2^modalities, labels], where absent modalities change nothing."""
        for begin in range(0, len(windows), self.batch_windows):
            _wait(self._timing.fixed_ms + self._timing.each_ms * len(windows[begin : begin + self.batch_windows]))
        rows = []
        for window in windows:
            present = sum(1 << i for i, m in enumerate(self.modalities) if m in window.present)
            rows.append(self._rows[np.arange(len(self._rows)) & present])
        return rows


def _wait(ms: float) -> None:
    # A sleep releases the interpreter to other threads, as a working device does.
    if ms > 0:
        with _one_device():
            time.sleep(ms / 1000)


@contextmanager
def _one_device() -> Iterator[None]:
    """Hold the device; processes whose STUB_DEVICE names one file share one device, which serves one at a time."""
    name = os.environ.get("STUB_DEVICE")
    if name is None:
        yield
        return
    with open(name, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make_stub(
    timing: StubTiming, batch_windows: int | None, folder: Path, device: str, threads: int | None
) -> ServedModel:
    """Make a stub with the shapes of the checkpoint in a folder."""
    return StubModel(load_model(folder, device, threads), timing, batch_windows)


def main() -> int:
    """Run a fusion worker that serves the stub, with the usual settings."""
    waits_ms = {name: float(os.environ[f"STUB_{name}"]) for name in ("FIXED_MS", "EACH_MS")}
    item_ms = {m: float(os.environ.get(f"STUB_{m.upper()}_MS", "0")) for m in ("text", "video", "audio")}
    timing = StubTiming(waits_ms["FIXED_MS"], waits_ms["EACH_MS"], item_ms)
    batch_windows = int(os.environ["STUB_BATCH"]) if "STUB_BATCH" in os.environ else None
    return run(partial(plan, model=partial(make_stub, timing, batch_windows)), load())


if __name__ == "__main__":
    sys.exit(main())
