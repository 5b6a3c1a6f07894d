"""Run functions of tensors at one fixed shape on a device: eagerly, or on CUDA as a graph with pinned buffers."""

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
# One run on the device, and one whose inputs the host copies meanwhile.
RUNS_IN_FLIGHT = 2
Tag = TypeVar("Tag")


# Waits for a result, float32 in host memory; read it before starting RUNS_IN_FLIGHT more.
PendingResult = Callable[[], NDArray[np.float32]]


class Executor(Protocol):
    """Runs one function: fill `inputs`, then start; up to RUNS_IN_FLIGHT runs may be in flight. Not thread-safe."""

    @property
    def inputs(self) -> Sequence[NDArray[Any]]:
        """The arguments of the next run, in host memory; they still hold older values."""

    def start(self) -> PendingResult:
        """Start computing the function of the inputs."""


ExecutorFactory = Callable[[Function, Sequence[Tensor]], Executor]


def run_pipelined(runs: Iterable[tuple[Executor, Tag]]) -> Iterator[tuple[Tag, NDArray[np.float32]]]:
    """Yield the result of each run in order; the next inputs are filled while the device is busy with the previous run.

    Args:
        runs: Executors whose inputs are filled when the iterator yields them, each with a tag that is returned with the
            result.
    """
    waiting: deque[tuple[Tag, PendingResult]] = deque()
    for run, tag in runs:
        waiting.append((tag, run.start()))
        if len(waiting) == RUNS_IN_FLIGHT:
            first, result = waiting.popleft()
            yield first, result()
    for tag, result in waiting:
        yield tag, result()


class EagerExecutor:
    """Runs the function operation by operation; `bfloat16` enables autocast for matrix products."""

    def __init__(self, function: Function, like: Sequence[Tensor], device: torch.device, bfloat16: bool) -> None:
        self._function, self._device, self._bfloat16 = function, device, bfloat16
        self._host = [torch.zeros_like(tensor) for tensor in like]
        self.inputs: Sequence[NDArray[Any]] = [tensor.numpy() for tensor in self._host]

    def start(self) -> PendingResult:
        """Run the function; only the copy to the host is deferred."""
        with torch.inference_mode(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            result = self._function(*(tensor.to(self._device) for tensor in self._host)).float()
        return lambda: result.cpu().numpy()


class PinnedBuffers:
    """Pinned host memory of one run: its inputs, its output, and an event that says when the device is done with both."""

    def __init__(self, like: Sequence[Tensor], result: Tensor) -> None:
        self.host = [torch.zeros_like(tensor).pin_memory() for tensor in like]
        self.inputs: Sequence[NDArray[Any]] = [tensor.numpy() for tensor in self.host]
        self.output = torch.empty(result.shape, dtype=torch.float32).pin_memory()
        self.done = torch.cuda.Event()  # type: ignore[no-untyped-call]

    def wait(self) -> NDArray[np.float32]:
        """Wait for the output and return it."""
        self.done.synchronize()
        output: NDArray[np.float32] = self.output.numpy()
        return output


class CudaGraphExecutor:
    """Runs the function as one CUDA graph with copies from and to pinned memory, without launches from Python.

    After https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs: warmed up and captured on one stream, with static
    inputs and outputs and without an autocast cache. All functions of a model share the stream.
    """

    def __init__(self, function: Function, like: Sequence[Tensor], stream: torch.cuda.Stream, bfloat16: bool) -> None:
        self._stream, self._graph = stream, torch.cuda.CUDAGraph()
        precision = torch.autocast("cuda", torch.bfloat16, enabled=bfloat16, cache_enabled=False)
        stream.wait_stream(torch.cuda.current_stream(stream.device))
        with torch.inference_mode(), precision:
            with torch.cuda.stream(stream):
                self._static_inputs = [tensor.to(stream.device) for tensor in like]
                for _ in range(WARM_UPS):
                    function(*self._static_inputs)
            stream.synchronize()
            # thread_local, because other threads use the device: a new model is captured while the old one serves.
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._result = function(*self._static_inputs).float()
        self._slots = deque(PinnedBuffers(like, self._result) for _ in range(RUNS_IN_FLIGHT))

    @property
    def inputs(self) -> Sequence[NDArray[Any]]:
        """The arguments of the next run, in pinned memory."""
        return self._slots[0].inputs

    def start(self) -> PendingResult:
        """Queue copies and graph on the stream."""
        slot = self._slots[0]
        self._slots.rotate(-1)
        with torch.inference_mode(), torch.cuda.stream(self._stream):
            for static, host in zip(self._static_inputs, slot.host, strict=True):
                static.copy_(host, non_blocking=True)
            self._graph.replay()
            slot.output.copy_(self._result, non_blocking=True)
            slot.done.record(self._stream)
        return slot.wait


def compile_function(function: Function) -> Function:
    """Fuse a function with torch.compile for one shape; the first call takes ten seconds or more."""
    fused: Function = torch.compile(function, dynamic=False)
    return fused


def executor_factory(device: torch.device, bfloat16: bool, fuse: bool = False) -> ExecutorFactory:
    """Return the executor of a device: CUDA graphs, compiled on request, or eager float32 elsewhere."""
    if device.type == "cuda":
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        return lambda function, like: CudaGraphExecutor(
            compile_function(function) if fuse else function, like, stream, bfloat16
        )
    return lambda function, like: EagerExecutor(function, like, device, False)
