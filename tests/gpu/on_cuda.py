"""The shipped models on a CUDA device: close to the CPU, deterministic, and reloadable while serving.

`make test-gpu` runs these; they fail without a CUDA device. `make test` does not collect this file.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.checkpoint import load
from model.executor import CudaGraphExecutor
from model.predict_files import predict_manifest
from model.predictor import FusionModel, WindowFeatures
from services.fusion.event_detector import EventDetector
from services.fusion.inference import Inference
from services.offline.evaluation.dataset import read_stream
from services.offline.evaluation.run_stream import final_events, run_stream
from services.runtime.settings import ROOT

NEAR = 1e-3
SAMPLES = 300
MODELS = ("home", "tridigit", "homesound10")
CACHE_BYTES = 64 * 1024 * 1024
AGAIN = 200


@cache
def loaded(name: str, device: str) -> FusionModel:
    return load(ROOT / "models" / name / "1", device)


@pytest.fixture(autouse=True, scope="module")
def device() -> None:
    assert torch.cuda.is_available(), "these tests need a CUDA device, and torch sees none here"


def items(served: FusionModel, modality: str, count: int, seed: int) -> list[Any]:
    drawn = np.random.default_rng(seed)
    if modality == "text":
        texts = ["turn on the kettle", "rate this book seven", "a dog barks", "", "rain rain rain"]
        return [served.prepare("text", texts[n % len(texts)]) for n in range(count)]
    if modality == "video":
        return [served.prepare("video", drawn.integers(0, 256, (48, 80, 3), dtype=np.uint8)) for _ in range(count)]
    return [served.prepare("audio", drawn.normal(0, 0.1, 4_000).astype(np.float32)) for _ in range(count)]


def windows(served: FusionModel, count: int) -> list[WindowFeatures]:
    """Windows with one to three senses, of encoded items."""
    features = {m: served.encode(m, items(served, m, 12, seed=3)) for m in served.modalities}
    made_windows = []
    for n in range(count):
        window_items: dict[str, Any] = {m: features[m][n % 5 : n % 5 + 3] for m in ("text", "video") if m in features}
        window_items["audio"] = {place: features["audio"][(n + place) % 12] for place in range(n % 4 + 1)}
        absent = served.modalities[n % 4] if n % 4 < len(served.modalities) else None
        made_windows.append(WindowFeatures({m: value for m, value in window_items.items() if m != absent}))
    return made_windows


def answers(manifest: Path, device: str) -> Iterator[dict[str, Any]]:
    return predict_manifest(manifest, lambda task: loaded(task, device))


def manifest_of(folder: Path, task: str, *media: str) -> Path:
    """The first samples of a shipped set, in the form of the batch contract."""
    source = ROOT / "data" / task
    for name in media:
        (folder / f"{name}.tar").symlink_to(source / f"{name}.tar")
    rows = [json.loads(line) for line in (source / "manifest.jsonl").read_text().splitlines()[:SAMPLES]]
    samples = [
        {
            "id": r["id"],
            "task": task,
            "text": r["text"],
            "image": r.get("hand"),
            "audio": r.get("speech", r.get("audio")),
        }
        for r in rows
    ]
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in samples))
    return manifest


@pytest.mark.parametrize(("task", "media"), [("tridigit", ("hand", "speech")), ("homesound10", ("audio",))])
def test_predictions_of_shipped_samples_equal_the_cpu_to_a_thousandth(
    tmp_path: Path, task: str, media: tuple[str, ...]
) -> None:
    manifest = manifest_of(tmp_path, task, *media)
    cuda, cpu = (list(answers(manifest, device)) for device in ("cuda", "cpu"))
    assert len(cuda) >= 200
    assert not any("error" in result for result in cuda)
    difference = [
        max(abs(a["probs"][label] - b["probs"][label]) for label in a["probs"]) for a, b in zip(cuda, cpu, strict=True)
    ]
    print(f"{task}: {len(cuda)} samples, largest difference of a probability {max(difference):.1e}")
    assert max(difference) < NEAR
    # Labels may differ only where two are equal as far as that goes.
    for a, b in zip(cuda, cpu, strict=True):
        assert a["label"] == b["label"] or abs(b["probs"][a["label"]] - b["probs"][b["label"]]) < 2 * NEAR


@pytest.mark.parametrize("stream", ["S06", "S08"])
def test_a_recorded_stream_has_the_same_events_as_on_the_cpu(stream: str) -> None:
    recording = read_stream(ROOT / "data", stream)
    runs = []
    for device in ("cuda", "cpu"):
        inference = Inference(loaded("home", device), CACHE_BYTES)
        runs.append((run_stream(recording, inference), EventDetector.of_model(inference.model)))
    cuda, cpu = runs
    difference = [
        float(np.abs(np.exp(a.rows) - np.exp(b.rows)).max())
        for a, b in zip(cuda[0].predictions, cpu[0].predictions, strict=True)
    ]
    print(f"{stream}: {len(difference)} windows, largest difference of a probability {max(difference):.1e}")
    assert max(difference) < NEAR
    events = [
        [(t.start_s, t.end_s, t.kind, t.label, t.decided_s) for t in final_events(*run_of_device)]
        for run_of_device in runs
    ]
    assert events[0]
    assert events[0] == events[1]


@pytest.mark.parametrize("name", MODELS)
def test_items_and_windows_are_byte_identical_in_any_batch(name: str) -> None:
    served = loaded(name, "cuda")
    assert all(isinstance(executor, CudaGraphExecutor) for executor in (*served._encoders.values(), served._head))
    for modality in served.modalities:
        prepared = items(served, modality, served.batch_windows + 5, seed=4)
        together = [f.tobytes() for f in served.encode(modality, prepared)]
        assert [served.encode(modality, [one])[0].tobytes() for one in prepared] == together
    inputs = windows(served, served.batch_windows + 5)
    rows = [r.tobytes() for r in served.fuse(inputs)]
    assert [served.fuse([item])[0].tobytes() for item in inputs] == rows


def test_a_failed_item_does_not_shift_later_results() -> None:
    served = loaded("home", "cuda")
    prepared = items(served, "audio", 3 * served.batch_windows, seed=5)
    before = [f.tobytes() for f in served.encode("audio", prepared)]
    broken = [*prepared[:-1], np.zeros(7, np.float32)]
    with pytest.raises(ValueError, match="broadcast"):
        served.encode("audio", broken)
    assert [f.tobytes() for f in served.encode("audio", prepared)] == before


@pytest.mark.parametrize("name", MODELS)
def test_a_model_loaded_again_gives_the_same_bytes(name: str) -> None:
    first, second = (load(ROOT / "models" / name / "1", "cuda") for _ in range(2))
    inputs = windows(first, 40)
    assert [r.tobytes() for r in first.fuse(inputs)] == [r.tobytes() for r in second.fuse(windows(second, 40))]


def test_a_newer_model_is_captured_by_another_thread_while_the_old_one_serves() -> None:
    served = load(ROOT / "models" / "home" / "1", "cuda")
    inputs = windows(served, 10)
    first = [r.tobytes() for r in served.fuse(inputs)]
    newer: list[FusionModel] = []
    loading = threading.Thread(target=lambda: newer.append(load(ROOT / "models" / "tridigit" / "1", "cuda")))
    loading.start()
    while loading.is_alive():
        assert [r.tobytes() for r in served.fuse(inputs)] == first
    for _ in range(AGAIN):
        assert [r.tobytes() for r in served.fuse(inputs)] == first
    alone = load(ROOT / "models" / "tridigit" / "1", "cuda")
    assert [r.tobytes() for r in newer[0].fuse(windows(newer[0], 10))] == [
        r.tobytes() for r in alone.fuse(windows(alone, 10))
    ]
