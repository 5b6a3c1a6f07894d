"""Functions of tensors at one fixed shape, run on a device: as they are, or on CUDA as a graph with pinned buffers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Function = Callable[..., Tensor]
WARM_UPS = 3
# Runs under way at a time: one on the device, and one whose arguments the host copies meanwhile.
AHEAD = 2
What = TypeVar("What")


# Waits for a result, float32 in memory of the host; to be read before AHEAD more are started.
Result = Callable[[], NDArray[np.float32]]


class Run(Protocol):
    """Fill `inputs`, start, ask for the result; up to AHEAD may be under way. Not for two threads at a time."""

    @property
    def inputs(self) -> Sequence[NDArray[Any]]:
        """The arguments of the next start, in memory of the host, with what an earlier one left in them."""

    def start(self) -> Result:
        """Begin to compute the function of them."""


Make = Callable[[Function, Sequence[Tensor]], Run]


def in_turn(filled: Iterable[tuple[Run, What]]) -> Iterator[tuple[What, NDArray[np.float32]]]:
    """The result of each run, in order; the inputs of the next are filled while the device is busy with the one before.

    filled: runs whose inputs are filled when they are asked for, and what the caller wants to hear with the result.
    """
    waiting: deque[tuple[What, Result]] = deque()
    for run, what in filled:
        waiting.append((what, run.start()))
        if len(waiting) == AHEAD:
            first, result = waiting.popleft()
            yield first, result()
    for what, result in waiting:
        yield what, result()


class Plain:
    """The function, step by step. bfloat16: the products of matrices in that, where the device gains by it."""

    def __init__(self, function: Function, like: Sequence[Tensor], device: torch.device, bfloat16: bool) -> None:
        self._function, self._device, self._bfloat16 = function, device, bfloat16
        self._host = [torch.zeros_like(tensor) for tensor in like]
        self.inputs: Sequence[NDArray[Any]] = [tensor.numpy() for tensor in self._host]

    def start(self) -> Result:
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            result = self._function(*(tensor.to(self._device) for tensor in self._host)).float()
        return lambda: result.cpu().numpy()


class Slot:
    """Pinned memory of the host for one run: its arguments, its result, and when the device is done with both."""

    def __init__(self, like: Sequence[Tensor], result: Tensor) -> None:
        self.host = [torch.zeros_like(tensor).pin_memory() for tensor in like]
        self.inputs: Sequence[NDArray[Any]] = [tensor.numpy() for tensor in self.host]
        self.told = torch.empty(result.shape, dtype=torch.float32).pin_memory()
        self.done = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def result(self) -> NDArray[np.float32]:
        """Wait for it."""
        self.done.synchronize()
        told: NDArray[np.float32] = self.told.numpy()
        return told


class Graphed:
    """The function as one CUDA graph: no step of it is launched from Python, and copies go beside from pinned memory.

    After https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs: warmed up and captured on one stream, static
    inputs and outputs, no cache of autocast within. All functions of a model share the stream.
    """

    def __init__(self, function: Function, like: Sequence[Tensor], stream: torch.cuda.Stream, bfloat16: bool) -> None:
        self._stream, self._graph = stream, torch.cuda.CUDAGraph()
        precision = torch.autocast("cuda", torch.bfloat16, enabled=bfloat16, cache_enabled=False)
        stream.wait_stream(torch.cuda.current_stream(stream.device))
        with torch.inference_mode(), precision:
            with torch.cuda.stream(stream):
                self._given = [tensor.to(stream.device) for tensor in like]
                for _ in range(WARM_UPS):
                    function(*self._given)
            stream.synchronize()
            # Other threads may use the device meanwhile: a newer model is captured while the old one serves.
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._result = function(*self._given).float()
        self._slots = deque(Slot(like, self._result) for _ in range(AHEAD))

    @property
    def inputs(self) -> Sequence[NDArray[Any]]:
        return self._slots[0].inputs

    def start(self) -> Result:
        slot = self._slots[0]
        self._slots.rotate(-1)
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            for given, host in zip(self._given, slot.host, strict=True):
                given.copy_(host, non_blocking=True)
            self._graph.replay()
            slot.told.copy_(self._result, non_blocking=True)
            slot.done.record(self._stream)
        return slot.result


def compiled(function: Function) -> Function:
    """The same with its steps fused by torch.compile, for one shape; the first call takes ten seconds and more."""
    fused: Function = torch.compile(function, dynamic=False)
    return fused


def maker(device: torch.device, bfloat16: bool, fuse: bool = False) -> Make:
    """How functions run on a device: graphs on CUDA, compiled first where asked; step by step elsewhere, in float32."""
    if device.type == "cuda":
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return lambda function, like: Graphed(compiled(function) if fuse else function, like, stream, bfloat16)
    return lambda function, like: Plain(function, like, device, False)
