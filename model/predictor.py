"""A model as it serves: items to features, features of windows to log probabilities of all subsets.

Every batch has one fixed shape per encoder and head, padded: the shape changes the last bits of a result, so a fixed
one makes it independent of what else happened to be in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.encoders.image import prepare_image
from model.encoders.text import Vocabulary
from model.encoders.words import Lexicon
from model.flops import flops
from model.modality import REGISTERED, prepare_segment
from model.network import FusionNetwork
from model.task.network import TaskNetwork

Feature = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class WindowFeatures:
    """What is usable of one window, by modality; one that has nothing is absent.

    A sequence: features in order of time, of too many the newest are kept; a mapping: features by their place on the
    window's grid, missing ones left out.
    """

    items: Mapping[str, Sequence[Feature] | Mapping[int, Feature]] = field(default_factory=dict)

    @property
    def present(self) -> frozenset[str]:
        return frozenset(name for name, found in self.items.items() if found)

    def placed(self, modality: str, places: int) -> Iterator[tuple[int, Feature]]:
        """The features of a modality, each with its place in a row of so many."""
        found = self.items.get(modality, ())
        return iter(found.items()) if isinstance(found, Mapping) else enumerate(found[-places:])


class FusionModel:
    """A loaded model; all results are functions of the inputs, the digest, the torch version and the device's kind."""

    def __init__(
        self,
        network: FusionNetwork | TaskNetwork,
        config: Mapping[str, Any],
        words: list[str],
        digest: str,
        device: torch.device,
    ) -> None:
        self._network = network.eval().to(device)
        self._prepare = _task_inputs(words) if isinstance(network, TaskNetwork) else _home_inputs(words)
        self.device = device
        self.digest = digest
        self.name: str = config["name"]
        self.version: str = config["version"]
        self.labels: tuple[str, ...] = tuple(config["labels"])
        self.modalities: tuple[str, ...] = network.modalities
        self.batch_windows: int = config["batch_windows"]
        self.segments_per_window: int = config["segments_per_window"]
        self.threads: int = config["threads"]
        # Samples of some tasks are longer than a window of a stream; the shape of a batch holds either.
        self.segments_per_sample: int = config.get("segments_per_sample", self.segments_per_window)
        self.task: str | None = config.get("task")
        self.decision: Mapping[str, float] = config["decision"]
        self.conflict_from: float = config["conflict_from"]
        self.conformal: float = config["conformal"]

    @cached_property
    def costliest(self) -> str:
        """The modality whose items take most arithmetic."""

        def cost(modality: str) -> int:
            blank = np.stack([self.prepare(modality, REGISTERED[modality].blank)])
            item = torch.from_numpy(blank).to(self.device)
            return flops(lambda: self._network.item_encoder(modality)(item))

        return max(self.modalities, key=cost)

    def prepare(self, modality: str, value: Any) -> NDArray[Any]:
        """A decoded value (text str, picture uint8 [h, w, 3], sound float32 [SEGMENT_SAMPLES]) as its encoder's input."""
        return self._prepare(modality, value)

    def encode(self, modality: str, inputs: Sequence[NDArray[Any]]) -> list[Feature]:
        """Features of prepared items, each from itself alone, whatever else is encoded with it."""
        encoder = self._network.item_encoder(modality)
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
        """Log probabilities float64 [2^modalities, labels] of each window: row i uses the modalities of the bits of i."""
        out: list[NDArray[np.float64]] = []
        for at in range(0, len(windows), self.batch_windows):
            part = windows[at : at + self.batch_windows]
            with torch.inference_mode():
                rows = self._rows(part).double().cpu().numpy()
            out += [rows[i].copy() for i in range(len(part))]
        return out

    def _rows(self, windows: Sequence[WindowFeatures]) -> torch.Tensor:
        batch, segments = self.batch_windows, max(self.segments_per_window, self.segments_per_sample)
        shapes = {m: self._network.item_shape(m, segments) for m in self.modalities}
        items = {m: np.zeros((batch, *shape), np.float32) for m, shape in shapes.items()}
        there = {m: np.zeros((batch, places), np.bool_) for m, (places, _) in shapes.items()}
        for row, window in enumerate(windows):
            for m, (places, _) in shapes.items():
                for place, feature in window.placed(m, places):
                    items[m][row, place], there[m][row, place] = feature, True
        present = np.stack([there[m].any(1) for m in self.modalities], 1)
        tensors = {m: torch.from_numpy(values).to(self.device) for m, values in items.items()}
        masks = {m: torch.from_numpy(values).to(self.device) for m, values in there.items()}
        branches = self._network.branches(tensors, masks)
        return self._network.subset_log_probs(branches, torch.from_numpy(present).to(self.device))


def _task_inputs(words: list[str]) -> Callable[[str, Any], NDArray[Any]]:
    lexicon = Lexicon(words)
    return lambda modality, value: REGISTERED[modality].prepare(value, lexicon)


def _home_inputs(words: list[str]) -> Callable[[str, Any], NDArray[Any]]:
    vocabulary = Vocabulary(words)
    inputs: Mapping[str, Callable[[Any], NDArray[Any]]] = {
        "text": vocabulary.prepare,
        "video": prepare_image,
        "audio": prepare_segment,
    }
    return lambda modality, value: inputs[modality](value)
