"""A model as it serves: items to features, features of windows to log probabilities of all subsets.

Every batch has one fixed shape per encoder and head, padded: the shape changes the last bits of a result, so a fixed
one makes it independent of what else happened to be in the batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.encoders.audio import SEGMENT_SAMPLES, STEP_FEATURES, STEPS
from model.encoders.image import prepare_image
from model.encoders.text import Vocabulary
from model.network import FEATURES, MODALITIES, FusionNetwork

Feature = NDArray[np.float32]
ITEMS_MAX = {"text": 4, "video": 8}


@dataclass(frozen=True, slots=True)
class WindowFeatures:
    """What is usable of one window; an empty part is an absent modality.

    text, video: features in order of time, of too many the newest are kept; audio: features by their place on the
    window's hop grid, missing ones left out.
    """

    text: Sequence[Feature] = ()
    video: Sequence[Feature] = ()
    audio: Mapping[int, Feature] | None = None

    @property
    def present(self) -> frozenset[str]:
        found = {"text": bool(self.text), "video": bool(self.video), "audio": bool(self.audio)}
        return frozenset(name for name, there in found.items() if there)


class FusionModel:
    """A loaded model; all results are functions of the inputs, the digest, the torch version and the device's kind."""

    def __init__(
        self,
        network: FusionNetwork,
        config: Mapping[str, Any],
        words: list[str],
        digest: str,
        device: torch.device,
    ) -> None:
        self._network = network.eval().to(device)
        self._vocabulary = Vocabulary(words)
        self.device = device
        self.digest = digest
        self.name: str = config["name"]
        self.version: str = config["version"]
        self.labels: tuple[str, ...] = tuple(config["labels"])
        self.modalities = MODALITIES
        self.batch_windows: int = config["batch_windows"]
        self.segments_per_window: int = config["segments_per_window"]
        self.threads: int = config["threads"]
        self.decision: Mapping[str, float] = config["decision"]
        self.conflict_from: float = config["conflict_from"]
        self.conformal: float = config["conformal"]

    def prepare(self, modality: str, value: Any) -> NDArray[Any]:
        """A decoded value (text str, picture uint8 [h, w, 3], sound float32 [SEGMENT_SAMPLES]) as its encoder's input."""
        if modality == "text":
            return self._vocabulary.prepare(value)
        if modality == "video":
            return prepare_image(value)
        segment: NDArray[np.float32] = np.zeros(SEGMENT_SAMPLES, np.float32)
        segment[: len(value)] = value[:SEGMENT_SAMPLES]
        return segment

    def encode(self, modality: str, inputs: Sequence[NDArray[Any]]) -> list[Feature]:
        """Features of prepared items, each from itself alone, whatever else is encoded with it."""
        encoder = {"text": self._network.text, "video": self._network.video, "audio": self._network.segment}[modality]
        out: list[Feature] = []
        for at in range(0, len(inputs), self.batch_windows):
            part = np.stack(inputs[at : at + self.batch_windows])
            padded = np.zeros((self.batch_windows, *part.shape[1:]), part.dtype)
            padded[: len(part)] = part
            with torch.inference_mode():
                features = encoder(torch.from_numpy(padded).to(self.device)).cpu().numpy()
            out += [features[i].copy() for i in range(len(part))]
        return out

    def fuse(self, windows: Sequence[WindowFeatures]) -> list[NDArray[np.float64]]:
        """Log probabilities float64 [8, labels] of each window: row i uses the modalities of the bits of i."""
        out: list[NDArray[np.float64]] = []
        for at in range(0, len(windows), self.batch_windows):
            part = windows[at : at + self.batch_windows]
            with torch.inference_mode():
                rows = self._rows(part).double().cpu().numpy()
            out += [rows[i].copy() for i in range(len(part))]
        return out

    def _rows(self, windows: Sequence[WindowFeatures]) -> torch.Tensor:
        batch, segments = self.batch_windows, self.segments_per_window
        items = {m: np.zeros((batch, n, FEATURES), np.float32) for m, n in ITEMS_MAX.items()}
        items["audio"] = np.zeros((batch, segments, STEPS * STEP_FEATURES), np.float32)
        there = {m: np.zeros(values.shape[:2], np.bool_) for m, values in items.items()}
        present = np.zeros((batch, len(MODALITIES)), np.bool_)
        for row, window in enumerate(windows):
            for modality, features in (("text", window.text), ("video", window.video)):
                for place, feature in enumerate(features[-ITEMS_MAX[modality] :]):
                    items[modality][row, place], there[modality][row, place] = feature, True
            for place, feature in (window.audio or {}).items():
                items["audio"][row, place], there["audio"][row, place] = feature, True
            present[row] = [m in window.present for m in MODALITIES]
        tensors = {m: torch.from_numpy(values).to(self.device) for m, values in items.items()}
        masks = {m: torch.from_numpy(values).to(self.device) for m, values in there.items()}
        branches = self._network.branches(tensors["text"], tensors["video"], tensors["audio"], masks)
        return self._network.subset_log_probs(branches, torch.from_numpy(present).to(self.device))
