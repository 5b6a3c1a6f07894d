"""Functions of tensors at one fixed shape, run on a device: as they are, or on CUDA as a graph with pinned buffers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Function = Callable[..., Tensor]
WARM_UPS = 3


class Run(Protocol):
    """Fill `inputs`, call, and read the result before the next call; not for two threads at a time."""

    @property
    def inputs(self) -> Sequence[NDArray[Any]]:
        """The arguments, in memory of the host."""

    def __call__(self) -> NDArray[np.float32]:
        """The function of them, in memory of the host; float32."""


Make = Callable[[Function, Sequence[Tensor]], Run]


class Plain:
    """The function, step by step. bfloat16: the products of matrices in that, where the device gains by it."""

    def __init__(self, function: Function, like: Sequence[Tensor], device: torch.device, bfloat16: bool) -> None:
        self._function, self._device, self._bfloat16 = function, device, bfloat16
        self._host = [torch.zeros_like(tensor) for tensor in like]
        self.inputs: Sequence[NDArray[Any]] = [tensor.numpy() for tensor in self._host]

    def __call__(self) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            result = self._function(*(tensor.to(self._device) for tensor in self._host))
            found: NDArray[np.float32] = result.float().cpu().numpy()
        return found


class Graphed:
    """The function as one CUDA graph: no step of it is launched from Python, and copies go beside from pinned memory.

    After https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs: warmed up and captured on one stream, static
    inputs and outputs, no cache of autocast within. All functions of a model share the stream.
    """

    def __init__(self, function: Function, like: Sequence[Tensor], stream: torch.cuda.Stream, bfloat16: bool) -> None:
        self._stream, self._graph = stream, torch.cuda.CUDAGraph()
        self._host = [torch.zeros_like(tensor).pin_memory() for tensor in like]
        self.inputs: Sequence[NDArray[Any]] = [tensor.numpy() for tensor in self._host]
        precision = torch.autocast("cuda", torch.bfloat16, enabled=bfloat16, cache_enabled=False)
        stream.wait_stream(torch.cuda.current_stream(stream.device))
        with torch.inference_mode(), precision:
            with torch.cuda.stream(stream):
                self._given = [tensor.to(stream.device) for tensor in self._host]
                for _ in range(WARM_UPS):
                    function(*self._given)
            stream.synchronize()
            # Other threads may use the device meanwhile: a newer model is captured while the old one serves.
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._result = function(*self._given).float()
        self._told = torch.empty(self._result.shape, dtype=torch.float32).pin_memory()

    def __call__(self) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            for given, host in zip(self._given, self._host, strict=True):
                given.copy_(host, non_blocking=True)
            self._graph.replay()
            self._told.copy_(self._result, non_blocking=True)
        self._stream.synchronize()
        told: NDArray[np.float32] = self._told.numpy()
        return told


def maker(device: torch.device, bfloat16: bool) -> Make:
    """How functions run on a device: graphs on CUDA, step by step elsewhere, where bfloat16 gains nothing."""
    if device.type == "cuda":
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return lambda function, like: Graphed(function, like, stream, bfloat16)
    return lambda function, like: Plain(function, like, device, False)
