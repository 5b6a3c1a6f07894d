"""An encoder in a file of another framework: prepares items for its input, and reduces its output to a vector each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.pretrained.encoder import EncoderError, Vectors, pool_vectors
from model.pretrained.manifest import EncoderManifest
from model.pretrained.runtime import OnnxRuntime, Runtime, TFLiteRuntime, TorchRuntime

# Scores of 0 have no logarithm; below this, differences are noise.
SCORE_MIN = 1e-6


class FileOptions(BaseModel):
    """The options of the kinds `onnx`, `tflite`, `torchscript` and `torch-export`."""

    model_config = ConfigDict(extra="forbid")

    sample_rate: int = Field(16_000, ge=4_000, le=192_000, description="Audio: the rate of the input in Hz.")
    samples: int | None = Field(
        None,
        ge=1,
        description="Audio: samples of one input; a longer item is cut into several, a shorter one is padded.",
    )
    hop: int | None = Field(
        None, ge=1, description="Audio: samples from one input to the next. Default: half an input."
    )
    scale: float = Field(1.0, gt=0, description="Audio: the value of full scale, 32767 for networks of 16-bit samples.")
    peak: float | None = Field(None, gt=0, le=1, description="Audio: scale each item to this peak.")
    side: int = Field(224, ge=8, le=2_048, description="Video: images are resized to side x side pixels.")
    layout: Literal["NCHW", "NHWC"] = Field("NCHW", description="Video: the order of channels, height and width.")
    mean: list[float] = Field([0.0], description="Subtracted from pixels in [0, 1], one value or one a channel.")
    std: list[float] = Field([1.0], description="Divides pixels after that.")
    layer: str | None = Field(
        None, description="The output, or for tflite any tensor, to use. Default: the first output."
    )
    transform: Literal["none", "log", "sqrt"] = Field("none", description="log for scores, sqrt for activations.")
    pool: str = Field(
        "mean",
        pattern=r"^(mean|max|std)(\+(mean|max|std))*$",
        description="How the inputs of one item, and the places of an output map, become one vector.",
    )
    batched: bool = Field(True, description="False if the input has no dimension for the batch.")


class FileEncoder:
    """A network from a file, run on one input at a time."""

    sample_rate: int | None

    def __init__(self, folder: Path, manifest: EncoderManifest) -> None:
        try:
            self._options = options = FileOptions.model_validate(manifest.options)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise EncoderError(
                f"The options of the encoder {manifest.name} cannot be used.", f"{where}: {first['msg']}"
            ) from error
        if manifest.modality == "text":
            raise EncoderError(
                f"The encoder {manifest.name} is for text.",
                f"A file of kind {manifest.kind} has no tokenizer.",
                "Use a folder in Hugging Face layout (kind huggingface), or an encoder in Python (docs/extend.md).",
            )
        self.name, self.modality, self.digest = manifest.name, manifest.modality, manifest.digest
        self.sample_rate = options.sample_rate if manifest.modality == "audio" else None
        self._runtime = _open_runtime(folder / next(iter(manifest.files)), manifest.kind, options.layer)
        self.size = len(self._encode_item(self._blank()))

    def encode(self, items: Sequence[NDArray[Any]]) -> Vectors:
        """Encode items to float32 [items, size]; silence and empty items are rows of zeros."""
        vectors = np.zeros((len(items), self.size), np.float32)
        for row, item in enumerate(items):
            if self.modality != "audio" or (len(item) and np.abs(item).max() > 0):
                vectors[row] = self._encode_item(item)
        return vectors

    def _encode_item(self, item: NDArray[Any]) -> Vectors:
        outputs = []
        for values in self._inputs(item):
            output = self._runtime.run(values[None] if self._options.batched else values)[0].astype(np.float32)
            if output.ndim == 4 and self.modality == "video" and self._options.layout == "NCHW":
                output = np.moveaxis(output, 1, -1)
            # All dimensions but the last are places: the batch of one, and the height and width of a map.
            outputs.append(output.reshape(-1, output.shape[-1]))
        parts = np.concatenate(outputs)
        if self._options.transform == "log":
            parts = np.log(np.maximum(parts, SCORE_MIN))
        if self._options.transform == "sqrt":
            parts = np.sqrt(np.maximum(parts, 0))
        vector = pool_vectors(parts, self._options.pool)
        if not np.isfinite(vector).all():
            raise EncoderError(f"The encoder {self.name} returned values that are not finite.", do="Check its options.")
        return vector

    def _inputs(self, item: NDArray[Any]) -> list[NDArray[np.float32]]:
        if self.modality == "video":
            return [self._prepare_image(item)]
        if self.modality == "audio":
            return self._cut_audio(item)
        return [np.asarray(item, np.float32)]

    def _prepare_image(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        o = self._options
        resized = Image.fromarray(pixels).resize((o.side, o.side), Image.Resampling.BILINEAR)
        mean, std = np.array(o.mean, np.float32), np.array(o.std, np.float32)
        values = ((np.asarray(resized, np.float32) / np.float32(255) - mean) / std).astype(np.float32)
        return values.transpose(2, 0, 1) if o.layout == "NCHW" else values

    def _cut_audio(self, samples: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        o = self._options
        if o.peak is not None:
            samples = samples * np.float32(o.peak / max(float(np.abs(samples).max(initial=0)), 1e-5))
        samples = (samples * np.float32(o.scale)).astype(np.float32)
        if o.samples is None:
            return [samples]
        hop = o.hop or max(o.samples // 2, 1)
        count = 1 + max(-(-(len(samples) - o.samples) // hop), 0)
        padded = np.pad(samples, (0, max((count - 1) * hop + o.samples - len(samples), 0)))
        return [padded[n * hop : n * hop + o.samples] for n in range(count)]

    def _blank(self) -> NDArray[Any]:
        """Return an item with which the network can be run once, to learn the length of its vectors."""
        if self.modality == "video":
            return np.zeros((8, 8, 3), np.uint8)
        if self.modality == "audio":
            return np.zeros(self._options.samples or self._options.sample_rate, np.float32)
        length = self._runtime.input_shape[-1] if self._runtime.input_shape else -1
        if length < 1:
            raise EncoderError(
                f"The length of the input of {self.name} is not in its file.", do="Export it with fixed sizes."
            )
        return np.zeros(length, np.float32)


def _open_runtime(path: Path, kind: str, layer: str | None) -> Runtime:
    if kind == "tflite":
        return TFLiteRuntime(path, layer)
    if kind == "onnx":
        return OnnxRuntime(path, layer)
    return TorchRuntime(path, exported=kind == "torch-export")
