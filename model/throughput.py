"""Measure windows per second of a model by execution mode, with and without cached encoders."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from model.executor import EagerExecutor, ExecutorFactory, compile_function, executor_factory
from model.labels import LABELS
from model.predictor import FusionModel, WindowFeatures
from model.streams.network import StreamsNetwork

WORDS, SEGMENTS = 3_000, 4
# Items of a window of 2 s, and how many of them the previous window (0.5 s earlier) did not have.
ITEMS: Mapping[str, tuple[int, float]] = {"text": (1, 0.25), "video": (5, 1.25), "audio": (SEGMENTS, 1.0)}
EAGER, COMPILED, GRAPHS, CACHED = "eager", "compiled", "graphs", "cached encoders"
COMPILED_GRAPHS, CACHED_COMPILED = "compiled, in graphs", "cached encoders, compiled, in graphs"
STEP_MAX_S = 20.0


@dataclass(frozen=True, slots=True)
class ThroughputRow:
    """Windows per second at one mode and batch size, MFU, and percentiles of the batch time."""

    way: str
    batch: int
    windows_per_s: float
    mfu: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class ThroughputReport:
    """Throughput of a model on a device.

    Attributes:
        parameters: Number of weights.
        gflop: Arithmetic of a window with all items encoded.
        cached_gflop: Arithmetic of a window if items of the previous window are cached.
        differs: Largest difference of a probability from the CPU's for the same window.
        rows: One row per mode and batch size.
    """

    parameters: int
    gflop: float
    cached_gflop: float
    differs: float
    rows: Sequence[ThroughputRow]

    def as_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return asdict(self)


def random_network() -> StreamsNetwork:
    """Create a network of the shipped model's shape with random weights."""
    torch.manual_seed(1)
    return StreamsNetwork(len(LABELS), WORDS, 50).eval()


def random_config(batch: int) -> dict[str, Any]:
    """Return the config of that network at one batch size, on any device."""
    return {
        "name": "capacity",
        "version": "1",
        "labels": list(LABELS),
        "batch_windows": batch,
        "batch_windows_cuda": batch,
        "segments_per_window": SEGMENTS,
        "threads": torch.get_num_threads(),
        "decision": {},
        "conflict_from": 0.9,
        "conformal": 0.9,
    }


def select_device(name: str, threads: int = 1) -> torch.device:
    """Select `auto`, `cpu` (with `threads` threads) or `cuda`.

    Raises:
        ValueError: If there is no CUDA device.
    """
    torch.set_num_threads(threads)
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("there is no CUDA device: leave --device out, or give cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def describe_device(device: torch.device) -> dict[str, Any]:
    """Describe the device, its load and its speed at large matrix products (GFLOP/s)."""
    rate = measure_matrix_rate(device)
    facts = {"machine": machine_name(device), "device": str(device), "torch": torch.__version__}
    # Other load slows a CPU measurement, so the page states it.
    busy = {"load": round(os.getloadavg()[0], 1), "cores": os.cpu_count()}
    return {**facts, **busy, "matrix_gflops": round(rate / 1e9, 1)}


def machine_name(device: torch.device) -> str:
    """Return the name of the GPU or CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        with open("/proc/cpuinfo") as lines:
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return f"{names[0] if names else platform.machine()}, {torch.get_num_threads()} thread(s)"


def measure_matrix_rate(device: torch.device) -> float:
    """Measure the floating-point operations per second of a large matrix product, which is 100 % MFU."""
    size = 8_192 if device.type == "cuda" else 1_024
    a = torch.randn(size, size, device=device)
    durations_s = []
    with torch.inference_mode():
        for _ in range(8):
            start_s = time.perf_counter()
            a @ a
            _synchronize(device)
            durations_s.append(time.perf_counter() - start_s)
    return 2 * size**3 / min(durations_s)


def execution_modes(device: torch.device, fused: bool) -> dict[str, ExecutorFactory]:
    """Return the ways to run functions on this device, by name."""
    eager = partial(EagerExecutor, device=device, bfloat16=False)
    modes: dict[str, ExecutorFactory] = {EAGER: eager}
    if fused:
        modes[COMPILED] = lambda function, like: eager(compile_function(function), like)
    if device.type == "cuda":
        modes[GRAPHS] = executor_factory(device, False)
    if device.type == "cuda" and fused:
        modes[COMPILED_GRAPHS] = executor_factory(device, False, fuse=True)
    return modes


def measure_throughput(
    device: torch.device,
    batches: Sequence[int],
    seconds: float,
    fused: bool,
    say: Callable[[str], None],
) -> ThroughputReport:
    """Measure every mode at every batch size.

    Args:
        device: The device.
        batches: Batch sizes, ascending.
        seconds: Duration of each measurement.
        fused: Measure compiled modes, too.
        say: Called with lines of progress.
    """
    cpu_model = FusionModel(random_network(), random_config(1), [], "0" * 64, torch.device("cpu"))
    items = {m: cpu_model.item_flops(m) for m in cpu_model.modalities}
    head = cpu_model.window_flops()
    full_flops = head + sum(items[m] * ITEMS[m][0] for m in items)
    cached_flops = head + sum(items[m] * ITEMS[m][1] for m in items)
    rate = measure_matrix_rate(device)
    rows: list[ThroughputRow] = []
    modes = execution_modes(device, fused)
    best = modes.get(GRAPHS, modes[EAGER])
    cached_ways = {CACHED: best} | ({CACHED_COMPILED: modes[COMPILED_GRAPHS]} if COMPILED_GRAPHS in modes else {})
    served = FusionModel(random_network(), random_config(1), [], "0" * 64, device, best)
    differs = float(np.abs(np.exp(_rows(served)) - np.exp(_rows(cpu_model))).max())
    for way, make in (modes | cached_ways).items():
        last_s = 0.0
        for batch in batches:
            before = [row.batch for row in rows if row.way == way]
            if before and last_s * batch / before[-1] > STEP_MAX_S:
                say(f"{way}: a batch of {batch} would take too long here")
                break
            say(f"{way}, batch {batch}")
            torch.compiler.reset()  # it stops compiling after a handful of shapes of one function
            model = FusionModel(random_network(), random_config(batch), [], "0" * 64, device, make)
            durations_s = list(_timed(_step(model, batch, way in cached_ways), seconds))
            last_s = float(np.median(durations_s))
            windows_per_s = batch / last_s
            mfu = windows_per_s * (cached_flops if way in cached_ways else full_flops) / rate
            p50, p99 = (1000 * float(np.percentile(durations_s, q)) for q in (50, 99))
            rows.append(ThroughputRow(way, batch, round(windows_per_s, 1), round(mfu, 4), round(p50, 3), round(p99, 3)))
            say(f"  {windows_per_s:.1f} windows/s, MFU {100 * mfu:.1f} %, p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    parameters = sum(p.numel() for p in random_network().parameters())
    return ThroughputReport(parameters, round(full_flops / 1e9, 3), round(cached_flops / 1e9, 3), differs, rows)


def _inputs(model: FusionModel) -> dict[str, NDArray[Any]]:
    """Return a prepared item of each modality."""
    drawn = np.random.default_rng(2)
    return {
        "text": model.prepare("text", "turn on the kettle"),
        "video": model.prepare("video", drawn.integers(0, 256, (64, 64, 3), dtype=np.uint8)),
        "audio": model.prepare("audio", drawn.normal(0, 0.1, 4_000).astype(np.float32)),
    }


def _window(model: FusionModel) -> WindowFeatures:
    """Return an encoded window with ITEMS items."""
    features = {m: model.encode(m, [item])[0] for m, item in _inputs(model).items()}
    items = {m: [features[m]] * ITEMS[m][0] for m in ("text", "video")}
    return WindowFeatures({**items, "audio": dict.fromkeys(range(SEGMENTS), features["audio"])})


def _rows(model: FusionModel) -> NDArray[np.float64]:
    (rows,) = model.fuse([_window(model)])
    return rows


def _step(model: FusionModel, batch: int, cached: bool) -> Callable[[], None]:
    """Return a function that encodes the new items of `batch` windows and fuses them."""
    new = {m: [item] * ceil(batch * ITEMS[m][1 if cached else 0]) for m, item in _inputs(model).items()}
    windows = [_window(model)] * batch

    def step() -> None:
        model.encode_all(new)
        model.fuse(windows)

    return step


def _timed(step: Callable[[], None], seconds: float) -> Iterator[float]:
    """Yield the seconds of each step; the first two, which may compile and allocate, are omitted."""
    for _ in range(2):
        start_s = time.perf_counter()
        step()
        if time.perf_counter() - start_s > STEP_MAX_S / 4:
            break
    end = time.perf_counter() + seconds
    count = 0
    while count < 3 or time.perf_counter() < end:
        start_s = time.perf_counter()
        step()
        yield time.perf_counter() - start_s
        count += 1


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
