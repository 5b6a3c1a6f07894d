"""Serve a model: encode items, and fuse the features of windows into log probabilities of all subsets.

Every batch is padded to one fixed shape per encoder and head. The shape changes the last bits of a result, so a fixed
shape makes results independent of what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from model.decode import JPEG_SIDE, Undecodable
from model.encoders.image import prepare_image
from model.encoders.text import Lexicon, Vocabulary
from model.executor import Executor, ExecutorFactory, executor_factory, run_pipelined
from model.modality import MODALITIES, decoder_of, prepare_segment
from model.network import TaskNetwork
from model.streams.network import StreamsNetwork
from model.tensors import present_evidence


def flops(work: Callable[[], Any]) -> int:
    """Floating-point operations of its products of matrices and convolutions, a multiplication and an addition as two."""
    # Imports triton, where it is installed: 90 MB and a second of CPU that only an overloaded worker needs.
    from torch.utils.flop_counter import FlopCounterMode

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())


class ServedModel(Protocol):
    """A loaded model. All results are functions of the inputs, the digest and the kind of device."""

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
        """The device; its text is the device's name."""

    @property
    def costliest_modality(self) -> str:
        """The modality whose items need most arithmetic; an overloaded worker leaves it out first."""

    def decode(self, modality: str, payload: bytes, content_type: str) -> Any | Undecodable:
        """Decode a payload as the model was trained with it."""

    def prepare(self, modality: str, value: Any) -> NDArray[Any]:
        """Turn a decoded value into its encoder's input."""

    def encode_all(self, inputs: Mapping[str, Sequence[NDArray[Any]]]) -> dict[str, list[Feature]]:
        """Encode prepared items by modality, each independently of the others."""

    def fuse(self, windows: Sequence[WindowFeatures]) -> list[NDArray[np.float64]]:
        """Return log probabilities float64 [2^modalities, labels] per window; row i uses the modalities of the bits of i."""


Feature = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class WindowFeatures:
    """The features of one window by modality; a modality without items is absent.

    A sequence holds features in order of time, of which the newest are used; a mapping holds features by their place on the
    window's grid.
    """

    items: Mapping[str, Sequence[Feature] | Mapping[int, Feature]] = field(default_factory=dict)

    @property
    def present(self) -> frozenset[str]:
        """The modalities that have items."""
        return frozenset(name for name, features in self.items.items() if features)

    def padded(self, modality: str, places: int, blank: Feature) -> list[Feature]:
        """Return the features of a modality in a row of `places`, padded with `blank`."""
        features = self.items.get(modality, ())
        if isinstance(features, Mapping):
            return [features.get(place, blank) for place in range(places)]
        newest = list(features[-places:])
        return newest + [blank] * (places - len(newest))


class FusionModel:
    """A loaded model; results also depend on the torch version."""

    def __init__(
        self,
        network: StreamsNetwork | TaskNetwork,
        config: Mapping[str, Any],
        words: list[str],
        digest: str,
        device: torch.device,
        make: ExecutorFactory | None = None,
    ) -> None:
        """Prepare the executors.

        Args:
            network: The network.
            config: The config of the checkpoint.
            words: The known words.
            digest: The digest of the checkpoint.
            device: Where to run.
            make: Creates executors in another way than the device's default, for benchmarks.
        """
        self._network = network.eval().to(device)
        self._prepare = _task_prepare(words) if isinstance(network, TaskNetwork) else _streams_prepare(words)
        self.device = device
        self.digest = digest
        self.name: str = config["name"]
        self.version: str = config["version"]
        self.labels: tuple[str, ...] = tuple(config["labels"])
        self.modalities: tuple[str, ...] = network.modalities
        # CUDA has a batch shape of its own; results depend on the kind of device in any case.
        on_cuda = device.type == "cuda"
        self.batch_windows: int = config.get("batch_windows_cuda", 64) if on_cuda else config["batch_windows"]
        self.segments_per_window: int = config["segments_per_window"]
        self.threads: int = config["threads"]
        # Samples of some tasks are longer than a window of a stream; the shape of a batch fits both.
        self.segments_per_sample: int = config.get("segments_per_sample", self.segments_per_window)
        self.task: str | None = config.get("task")
        self.decision: Mapping[str, float] = config["decision"]
        self.conflict_from: float = config["conflict_from"]
        self.conformal: float = config["conformal"]
        # Older checkpoints declare none.
        self.jpeg_side: int = config.get("jpeg_side", JPEG_SIDE)
        self._decoders = {m: decoder_of(m, self.jpeg_side) for m in self.modalities}
        make = make or executor_factory(device, config.get("precision") == "bfloat16", config.get("compile") is True)
        self._encoders = {m: make(partial(self._encode_items, m), [self._blank_items(m)]) for m in self.modalities}
        self._head = make(self._run_head, self._blank_windows())

    @cached_property
    def costliest_modality(self) -> str:
        """The modality whose items need most arithmetic."""
        return max(self.modalities, key=self.item_flops)

    def item_flops(self, modality: str) -> int:
        """Count the floating-point operations to encode one item."""
        item = self._blank_items(modality)[:1].to(self.device)
        return flops(lambda: self._encode_items(modality, item))

    def window_flops(self) -> int:
        """Count the floating-point operations of the head for one window, with all subsets."""
        return flops(lambda: self._run_head(*(blank[:1].to(self.device) for blank in self._blank_windows())))

    def decode(self, modality: str, payload: bytes, content_type: str) -> Any | Undecodable:
        """Decode a payload; JPEGs as small as the model's config declares (`jpeg_side`)."""
        return self._decoders[modality](payload, content_type)

    def prepare(self, modality: str, value: Any) -> NDArray[Any]:
        """Turn a decoded value (str, pixels uint8 [h, w, 3], samples float32 [SEGMENT_SAMPLES]) into its encoder's input."""
        return self._prepare(modality, value)

    def encode(self, modality: str, inputs: Sequence[NDArray[Any]]) -> list[Feature]:
        """Encode prepared items of one modality, each independently of the others."""
        return self.encode_all({modality: inputs})[modality]

    def encode_all(self, inputs: Mapping[str, Sequence[NDArray[Any]]]) -> dict[str, list[Feature]]:
        """Encode items of several modalities; items of one are copied while the device encodes those of another."""
        encoded: dict[str, list[Feature]] = {modality: [] for modality in inputs}
        for (modality, count), features in run_pipelined(self._item_batches(inputs)):
            # Copied, because a cached view would keep the whole batch in memory.
            encoded[modality] += [feature.copy() for feature in features[:count]]
        return encoded

    def fuse(self, windows: Sequence[WindowFeatures]) -> list[NDArray[np.float64]]:
        """Return log probabilities float64 [2^modalities, labels] per window; row i uses the modalities of the bits of i."""
        fused: list[NDArray[np.float64]] = []
        for count, rows in run_pipelined(self._window_batches(windows)):
            fused += [row.astype(np.float64) for row in rows[:count]]
        return fused

    def _item_batches(self, inputs: Mapping[str, Sequence[NDArray[Any]]]) -> Iterator[tuple[Executor, tuple[str, int]]]:
        """Yield filled encoder runs, each with its modality and number of items.

        Rows after those keep older items: a row's feature depends on that row alone, so they need not be cleared.
        """
        for modality, items in inputs.items():
            run = self._encoders[modality]
            for begin in range(0, len(items), self.batch_windows):
                part = items[begin : begin + self.batch_windows]
                (rows,) = run.inputs
                for row, item in enumerate(part):
                    rows[row] = item
                yield run, (modality, len(part))

    def _window_batches(self, windows: Sequence[WindowFeatures]) -> Iterator[tuple[Executor, int]]:
        """Yield filled head runs, each with its number of windows."""
        for begin in range(0, len(windows), self.batch_windows):
            part = windows[begin : begin + self.batch_windows]
            self._fill_head_inputs(part)
            yield self._head, len(part)

    def _fill_head_inputs(self, windows: Sequence[WindowFeatures]) -> None:
        """Write features into the inputs of the head and clear what an earlier batch left there."""
        count, inputs = len(self.modalities), self._head.inputs
        for i, m in enumerate(self.modalities):
            items, present = inputs[i], inputs[count + i]
            items[len(windows) :], present[len(windows) :] = 0, False
            blank = np.zeros(items.shape[2], np.float32)
            rows = [feature for window in windows for feature in window.padded(m, items.shape[1], blank)]
            np.concatenate(rows, out=items[: len(windows)].reshape(-1))
            present[: len(windows)] = np.array([row is not blank for row in rows]).reshape(len(windows), -1)

    def _encode_items(self, modality: str, inputs: torch.Tensor) -> torch.Tensor:
        """Encode prepared items; those without content as zeros."""
        features: torch.Tensor = self._network.item_encoder(modality)(inputs)
        return features * MODALITIES[modality].has_content(inputs)

    def _run_head(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Compute log probabilities of all subsets from items of each modality, followed by their masks."""
        count = len(self.modalities)
        items, masks = (dict(zip(self.modalities, part, strict=True)) for part in (tensors[:count], tensors[count:]))
        masks, present = present_evidence(items, masks)
        return self._network.subset_log_probs(self._network.branches(items, masks), present)

    def _blank_items(self, modality: str) -> torch.Tensor:
        """Return a batch of blank inputs of an encoder."""
        blank = self.prepare(modality, MODALITIES[modality].blank)
        return torch.zeros((self.batch_windows, *blank.shape), dtype=torch.from_numpy(blank).dtype)

    def _blank_windows(self) -> Sequence[torch.Tensor]:
        """Return a batch of blank inputs of the head, in the order of `_run_head`."""
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
