"""What serves: the interface of a loaded model to whoever asks it, and all that they may know of it.

A model as it serves: items to features, features of windows to log probabilities of all subsets.

Every batch has one fixed shape per encoder and head, padded: the shape changes the last bits of a result, so a fixed
one makes it independent of what else happened to be in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from model.encoders.image import prepare_image
from model.encoders.lexicon import Lexicon
from model.encoders.text import Vocabulary
from model.executor import Executor, ExecutorFactory, executor_factory, run_pipelined
from model.flops import flops
from model.modality import MODALITIES, prepare_segment
from model.network import TaskNetwork
from model.streams.network import StreamsNetwork


class ServedModel(Protocol):
    """A model of some device. All results are functions of the inputs, the digest and the device's kind."""

    name: str
    version: str
    digest: str
    labels: tuple[str, ...]
    modalities: tuple[str, ...]
    batch_windows: int
    segments_per_window: int
    threads: int
    decision: Mapping[str, float]
    conflict_from: float
    conformal: float

    @property
    def device(self) -> object:
        """Where it runs; its text is the device's name."""

    @property
    def costliest_modality(self) -> str:
        """The modality whose items take most arithmetic: the one that an overloaded worker leaves out."""

    def prepare(self, modality: str, value: Any) -> NDArray[Any]:
        """A decoded value as its encoder's input."""

    def encode_all(self, inputs: Mapping[str, Sequence[NDArray[Any]]]) -> dict[str, list[Feature]]:
        """Features of prepared items by modality, each from itself alone, whatever else is encoded with it."""

    def fuse(self, windows: Sequence[WindowFeatures]) -> list[NDArray[np.float64]]:
        """Log probabilities float64 [2^modalities, labels] of each window: row i uses the modalities of the bits of i."""


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
        return frozenset(name for name, features in self.items.items() if features)

    def padded(self, modality: str, places: int, blank: Feature) -> list[Feature]:
        """The features of a modality in a row of so many places, `blank` where there is none."""
        features = self.items.get(modality, ())
        if isinstance(features, Mapping):
            return [features.get(place, blank) for place in range(places)]
        newest = list(features[-places:])
        return newest + [blank] * (places - len(newest))


class FusionModel:
    """A loaded model; all results are functions of the inputs, the digest, the torch version and the device's kind."""

    def __init__(
        self,
        network: StreamsNetwork | TaskNetwork,
        config: Mapping[str, Any],
        words: list[str],
        digest: str,
        device: torch.device,
        make: ExecutorFactory | None = None,
    ) -> None:
        """make: how functions run, where not the device's own way; bench compares the ways."""
        self._network = network.eval().to(device)
        self._prepare = _task_prepare(words) if isinstance(network, TaskNetwork) else _streams_prepare(words)
        self.device = device
        self.digest = digest
        self.name: str = config["name"]
        self.version: str = config["version"]
        self.labels: tuple[str, ...] = tuple(config["labels"])
        self.modalities: tuple[str, ...] = network.modalities
        # A device that does many windows at once has a shape of its own; results are the device's in any case.
        on_cuda = device.type == "cuda"
        self.batch_windows: int = config.get("batch_windows_cuda", 64) if on_cuda else config["batch_windows"]
        self.segments_per_window: int = config["segments_per_window"]
        self.threads: int = config["threads"]
        # Samples of some tasks are longer than a window of a stream; the shape of a batch holds either.
        self.segments_per_sample: int = config.get("segments_per_sample", self.segments_per_window)
        self.task: str | None = config.get("task")
        self.decision: Mapping[str, float] = config["decision"]
        self.conflict_from: float = config["conflict_from"]
        self.conformal: float = config["conformal"]
        make = make or executor_factory(device, config.get("precision") == "bfloat16", config.get("compile") is True)
        self._encoders = {m: make(self._network.item_encoder(m), [self._blank_items(m)]) for m in self.modalities}
        self._head = make(self._run_head, self._blank_windows())

    @cached_property
    def costliest_modality(self) -> str:
        """The modality whose items take most arithmetic."""
        return max(self.modalities, key=self.item_flops)

    def item_flops(self, modality: str) -> int:
        """Floating-point operations to encode one item."""
        item = self._blank_items(modality)[:1].to(self.device)
        return flops(lambda: self._network.item_encoder(modality)(item))

    def window_flops(self) -> int:
        """Floating-point operations of the head for one window, all subsets of its modalities."""
        return flops(lambda: self._run_head(*(blank[:1].to(self.device) for blank in self._blank_windows())))

    def prepare(self, modality: str, value: Any) -> NDArray[Any]:
        """A decoded value (text str, picture uint8 [h, w, 3], sound float32 [SEGMENT_SAMPLES]) as its encoder's input."""
        return self._prepare(modality, value)

    def encode(self, modality: str, inputs: Sequence[NDArray[Any]]) -> list[Feature]:
        """Features of prepared items of one modality, each from itself alone, whatever else is encoded with it."""
        return self.encode_all({modality: inputs})[modality]

    def encode_all(self, inputs: Mapping[str, Sequence[NDArray[Any]]]) -> dict[str, list[Feature]]:
        """The same of several modalities: the items of one are copied while the device encodes those of another."""
        encoded: dict[str, list[Feature]] = {modality: [] for modality in inputs}
        for (modality, count), features in run_pipelined(self._item_batches(inputs)):
            # A copy each: a view of the whole batch in a cache would keep all of it.
            encoded[modality] += [feature.copy() for feature in features[:count]]
        return encoded

    def fuse(self, windows: Sequence[WindowFeatures]) -> list[NDArray[np.float64]]:
        """Log probabilities float64 [2^modalities, labels] of each window: row i uses the modalities of the bits of i."""
        fused: list[NDArray[np.float64]] = []
        for count, rows in run_pipelined(self._window_batches(windows)):
            fused += [row.astype(np.float64) for row in rows[:count]]
        return fused

    def _item_batches(self, inputs: Mapping[str, Sequence[NDArray[Any]]]) -> Iterator[tuple[Executor, tuple[str, int]]]:
        """Runs of encoders, filled, with the modality and how many items there are.

        The rows behind those hold older items: a row's feature is its own, so there is no need to clear them.
        """
        for modality, given in inputs.items():
            run = self._encoders[modality]
            for at in range(0, len(given), self.batch_windows):
                part = given[at : at + self.batch_windows]
                (rows,) = run.inputs
                for row, item in enumerate(part):
                    rows[row] = item
                yield run, (modality, len(part))

    def _window_batches(self, windows: Sequence[WindowFeatures]) -> Iterator[tuple[Executor, int]]:
        """Runs of the head, filled, with how many windows there are."""
        for at in range(0, len(windows), self.batch_windows):
            part = windows[at : at + self.batch_windows]
            self._fill_head_inputs(part)
            yield self._head, len(part)

    def _fill_head_inputs(self, windows: Sequence[WindowFeatures]) -> None:
        """Put features where the head reads them; what an earlier batch left there is cleared."""
        count, inputs = len(self.modalities), self._head.inputs
        for i, m in enumerate(self.modalities):
            items, present = inputs[i], inputs[count + i]
            items[len(windows) :], present[len(windows) :] = 0, False
            blank = np.zeros(items.shape[2], np.float32)
            rows = [feature for window in windows for feature in window.padded(m, items.shape[1], blank)]
            np.concatenate(rows, out=items[: len(windows)].reshape(-1))
            present[: len(windows)] = np.array([row is not blank for row in rows]).reshape(len(windows), -1)

    def _run_head(self, *tensors: torch.Tensor) -> torch.Tensor:
        """The head: items of each modality, then which are there of each, to log probabilities of all subsets."""
        count = len(self.modalities)
        items, masks = (dict(zip(self.modalities, part, strict=True)) for part in (tensors[:count], tensors[count:]))
        present = torch.stack([mask.any(1) for mask in masks.values()], 1)
        return self._network.subset_log_probs(self._network.branches(items, masks), present)

    def _blank_items(self, modality: str) -> torch.Tensor:
        """A batch of an encoder's inputs that say nothing."""
        blank = self.prepare(modality, MODALITIES[modality].blank)
        return torch.zeros((self.batch_windows, *blank.shape), dtype=torch.from_numpy(blank).dtype)

    def _blank_windows(self) -> Sequence[torch.Tensor]:
        """A batch of the head's inputs that say nothing, as `_subsets` takes them."""
        segments = max(self.segments_per_window, self.segments_per_sample)
        shapes = [self._network.item_shape(m, segments) for m in self.modalities]
        items = [torch.zeros((self.batch_windows, *shape)) for shape in shapes]
        return [*items, *(torch.zeros((self.batch_windows, places), dtype=torch.bool) for places, _ in shapes)]


def _task_prepare(words: list[str]) -> Callable[[str, Any], NDArray[Any]]:
    lexicon = Lexicon(words)
    return lambda modality, value: MODALITIES[modality].prepare(value, lexicon)


def _streams_prepare(words: list[str]) -> Callable[[str, Any], NDArray[Any]]:
    vocabulary = Vocabulary(words)
    inputs: Mapping[str, Callable[[Any], NDArray[Any]]] = {
        "text": vocabulary.prepare,
        "video": prepare_image,
        "audio": prepare_segment,
    }
    return lambda modality, value: inputs[modality](value)
