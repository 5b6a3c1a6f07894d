"""Run the network in a file: ONNX, TensorFlow Lite, TorchScript or torch.export, on the CPU with one thread.

Every run has the same shape, so that a result does not depend on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from model.pretrained.encoder import EncoderError

Array = NDArray[Any]


class Runtime(Protocol):
    """A loaded network."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input; -1 where any size will do, empty if the file does not say it."""

    def run(self, inputs: Array) -> list[Array]:
        """Return the outputs for one batch."""


class TFLiteRuntime:
    """A network in a TensorFlow Lite file.

    Args:
        path: The file.
        layer: Name of an inner tensor that becomes the only output.
    """

    def __init__(self, path: Path, layer: str | None = None) -> None:
        from ai_edge_litert.interpreter import Interpreter

        content = path.read_bytes()
        try:
            self._interpreter = Interpreter(
                model_content=_with_output(content, layer) if layer else content, num_threads=1
            )
            self._input = self._interpreter.get_input_details()[0]
            # The size that stands in the file of an input of any size may be too small to run.
            self._shape = () if -1 in self._input["shape_signature"] else tuple(self._input["shape"])
            if self._shape:
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise EncoderError(
                f"{path} cannot be run by LiteRT.", str(error), "Is it a TensorFlow Lite file?"
            ) from error
        self._outputs = self._interpreter.get_output_details()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input; -1 where any size will do."""
        return tuple(self._input["shape_signature"])

    def run(self, inputs: Array) -> list[Array]:
        """Return the outputs for one batch."""
        if inputs.shape != self._shape:
            self._interpreter.resize_tensor_input(self._input["index"], inputs.shape)
            self._interpreter.allocate_tensors()
            self._shape = inputs.shape
        self._interpreter.set_tensor(self._input["index"], _quantize(inputs, self._input))
        self._interpreter.invoke()
        return [_dequantize(self._interpreter.get_tensor(d["index"]), d) for d in self._outputs]


def _with_output(content: bytes, layer: str) -> bytes:
    """Return a TensorFlow Lite file whose only output is an inner tensor; operators behind it do not disturb."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    names = [tensor.name.decode() for tensor in graph.tensors]
    if layer not in names:
        raise EncoderError(f"The file has no tensor {layer}.", f"The last ones are {', '.join(names[-5:])}.")
    index = names.index(layer)
    producers = [n for n, operator in enumerate(graph.operators) if index in list(operator.outputs)]
    if not producers:
        raise EncoderError(f"{layer} is a constant of the file, not the output of one of its layers.")
    graph.operators = graph.operators[: producers[0] + 1]
    graph.outputs = [index]
    model.signatureDefs = []
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _quantize(values: Array, details: Any) -> Array:
    scale, zero = details["quantization"]
    kind = details["dtype"]
    if not scale or not np.issubdtype(kind, np.integer):
        return values.astype(kind)
    limits = np.iinfo(kind)
    levels: Array = np.clip(np.round(values / scale) + zero, limits.min, limits.max).astype(kind)
    return levels


def _dequantize(values: Array, details: Any) -> Array:
    scale, zero = details["quantization"]
    if not scale:
        return values
    real: Array = (values.astype(np.float32) - zero) * np.float32(scale)
    return real


class OnnxRuntime:
    """A network in an ONNX file."""

    def __init__(self, path: Path, layer: str | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(path.read_bytes(), options, ["CPUExecutionProvider"])
        except Exception as error:
            raise EncoderError(f"{path} cannot be run by onnxruntime.", str(error), "Is it an ONNX file?") from error
        self._input = self._session.get_inputs()[0]
        names = [output.name for output in self._session.get_outputs()]
        if layer and layer not in names:
            raise EncoderError(f"{path} has no output {layer}.", f"Its outputs are {', '.join(names)}.")
        self._names = [layer] if layer else names

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input; -1 where any size will do."""
        return tuple(size if isinstance(size, int) else -1 for size in self._input.shape)

    def run(self, inputs: Array) -> list[Array]:
        """Return the outputs for one batch."""
        outputs: list[Array] = self._session.run(self._names, {self._input.name: inputs.astype(np.float32)})
        return outputs


class TorchRuntime:
    """A network that `torch.jit.save` or `torch.export.save` wrote; the files hold code, so they are opened only by name."""

    def __init__(self, path: Path, *, exported: bool) -> None:
        import torch

        try:
            self._module = (
                torch.export.load(path).module() if exported else torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]
            )
        except Exception as error:
            raise EncoderError(f"{path} cannot be loaded by torch.", str(error).splitlines()[0]) from error

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Empty: the files do not say it."""
        return ()

    def run(self, inputs: Array) -> list[Array]:
        """Return the outputs for one batch."""
        import torch

        with torch.inference_mode():
            outputs = self._module(torch.from_numpy(np.ascontiguousarray(inputs, np.float32)))
        tensors: Sequence[Any] = outputs if isinstance(outputs, tuple | list) else (outputs,)
        return [tensor.numpy() for tensor in tensors]
