"""Predict and explain samples without any service: decoded examples, one sample from files, or a whole manifest."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.audio_segments import TimedSamples, cut_segments
from model.data.example import Example
from model.decode import RATE, Undecodable, decode_audio, decode_image
from model.encoders.audio import SEGMENT_SAMPLES
from model.explain import Explanation, explain_window
from model.labels import DIGITS, SOUNDS
from model.modality import MODALITIES
from model.predictor import FusionModel, WindowFeatures
from model.sample_manifest import FIELDS, UnreadableRow, read_example, read_rows

TIMED_EXAMPLES = 40


def predict_examples(model: FusionModel, examples: Sequence[Example]) -> NDArray[np.float64]:
    """Return log probabilities float64 [examples, 2^modalities, labels], encoded and fused as the services do it."""
    if not examples:
        return np.zeros((0, 1 << len(model.modalities), len(model.labels)))
    return np.stack(model.fuse(encode_examples(model, examples)))


def encode_examples(model: FusionModel, examples: Sequence[Example]) -> list[WindowFeatures]:
    """Encode the modalities of each example that the model knows."""
    inputs: dict[str, list[NDArray[np.generic]]] = {m: [] for m in model.modalities}
    spans: list[dict[str, range]] = []
    for example in examples:
        span: dict[str, range] = {}
        for m in model.modalities:
            begin = len(inputs[m])
            inputs[m] += _prepare_items(model, m, example)
            span[m] = range(begin, len(inputs[m]))
        spans.append(span)
    encoded = model.encode_all(inputs)
    return [
        WindowFeatures(
            {m: {place: encoded[m][i] for place, i in enumerate(positions)} for m, positions in span.items()}
        )
        for span in spans
    ]


def median_latency_ms(model: FusionModel, examples: Sequence[Example]) -> float:
    """Measure the median time of one prediction in ms, encoders included, one example at a time."""
    durations_ms = []
    for example in examples[:TIMED_EXAMPLES]:
        start_s = time.perf_counter()
        model.fuse(encode_examples(model, [example]))
        durations_ms.append((time.perf_counter() - start_s) * 1000)
    return float(np.median(durations_ms))


def _prepare_items(model: FusionModel, modality: str, example: Example) -> list[NDArray[np.generic]]:
    value = example.value(modality)
    if value is None:
        return []
    if not MODALITIES[modality].on_grid:
        return [model.prepare(modality, value)]
    end = min(len(value), model.segments_per_sample * SEGMENT_SAMPLES)
    return [model.prepare(modality, value[begin : begin + SEGMENT_SAMPLES]) for begin in range(0, end, SEGMENT_SAMPLES)]


@dataclass(frozen=True, slots=True)
class FileSample:
    """Text, image file and audio file of a sample; None for an absent modality."""

    text: str | None
    image: bytes | None
    audio: bytes | None


def predict_files(model: FusionModel, sample: FileSample) -> Explanation | str:
    """Predict a sample; return a sentence if an input cannot be decoded or is not one of the model's."""
    values = {"text": sample.text, "video": sample.image, "audio": sample.audio}
    unknown = [m for m, value in values.items() if value is not None and m not in model.modalities]
    if unknown:
        return f"the model {model.name} has no input {unknown[0]}, only {', '.join(model.modalities)}: leave it out"
    text, video, audio = [], [], {}
    if sample.text is not None:
        text = model.encode("text", [model.prepare("text", sample.text)])
    if sample.image is not None:
        pixels = decode_image(sample.image, jpeg_side=model.jpeg_side)
        if isinstance(pixels, Undecodable):
            return f"the image: {pixels.detail}"
        video = model.encode("video", [model.prepare("video", pixels)])
    if sample.audio is not None:
        samples = decode_audio(sample.audio, "audio/file")
        if isinstance(samples, Undecodable):
            return f"the audio: {samples.detail}"
        hop_us = SEGMENT_SAMPLES * 1_000_000 // RATE
        window_us = hop_us * model.segments_per_sample
        segments = cut_segments([TimedSamples(0, "file", "0", samples)], 0, window_us, hop_us, RATE)
        features = model.encode("audio", [model.prepare("audio", s.samples) for s in segments])
        audio = {s.start_us // hop_us: feature for s, feature in zip(segments, features, strict=True)}
    window = WindowFeatures({"text": text, "video": video, "audio": audio})
    (rows,) = model.fuse([window])
    return explain_window(rows, window.present, model.modalities, model.labels, model.conflict_from, model.conformal)


# Samples in memory at a time.
PART_ROWS = 64
DECIMALS = 8
TASK_LABELS: Mapping[str, tuple[str, ...]] = {"tridigit": DIGITS, "homesound10": SOUNDS}
ModelFor = Callable[[str], FusionModel | str]


def predict_manifest(manifest: Path, model_for: ModelFor) -> Iterator[dict[str, Any]]:
    """Yield one result per line, in order.

    Args:
        manifest: The manifest.
        model_for: Returns the model of a task, or a sentence why there is none.

    Raises:
        ManifestError: If the manifest cannot be read.
    """
    rows = iter(read_rows(manifest))
    while part := list(islice(rows, PART_ROWS)):
        yield from _predict_part(part, manifest.parent, model_for)


def _predict_part(
    part: Iterable[dict[str, Any] | UnreadableRow], root: Path, model_for: ModelFor
) -> Iterator[dict[str, Any]]:
    predictions: list[dict[str, Any]] = []
    waiting: dict[str, list[tuple[int, Any, Example]]] = {}
    for row in part:
        sample = row if isinstance(row, UnreadableRow) else _read_sample(row, root, model_for)
        if isinstance(sample, UnreadableRow):
            predictions.append({"id": sample.id, "error": sample.error})
        else:
            assert isinstance(row, dict)
            waiting.setdefault(row["task"], []).append((len(predictions), row.get("id"), sample))
            predictions.append({})
    for task, samples in waiting.items():
        model = model_for(task)
        assert isinstance(model, FusionModel)
        windows = encode_examples(model, [example for _, _, example in samples])
        for (place, name, _), window, rows in zip(samples, windows, model.fuse(windows), strict=True):
            predictions[place] = {"id": name} | prediction_row(model, task, rows, window.present)
    yield from predictions


def prediction_row(model: FusionModel, task: str, rows: NDArray[np.float64], present: frozenset[str]) -> dict[str, Any]:
    """Return the result of one sample: probabilities of the task's labels alone, conflict, abstention, contributions."""
    labels = TASK_LABELS.get(task, model.labels)
    task_rows = rows[:, [model.labels.index(label) for label in labels]]
    task_rows = task_rows - np.log(np.exp(task_rows).sum(1, keepdims=True))
    explanation = explain_window(task_rows, present, model.modalities, labels, model.conflict_from, model.conformal)
    everything = sum(1 << i for i, m in enumerate(model.modalities) if m in present)
    probabilities = np.exp(task_rows[everything])
    return {
        "label": explanation.label,
        "probs": {
            label: round(float(p), DECIMALS)
            for label, p in zip(labels, probabilities / probabilities.sum(), strict=True)
        },
        "conflict": round(explanation.conflict, DECIMALS),
        "odd": explanation.odd,
        "abstained": explanation.abstained,
        "contributions": {m: round(value, DECIMALS) for m, value in explanation.contributions.items()},
    }


def _read_sample(row: dict[str, Any], root: Path, model_for: ModelFor) -> Example | UnreadableRow:
    task = row.get("task")
    if not isinstance(task, str):
        return UnreadableRow(row.get("id"), "the row names no task")
    model = model_for(task)
    if isinstance(model, str):
        return UnreadableRow(row.get("id"), model)
    missing = set(TASK_LABELS.get(task, ())) - set(model.labels)
    if missing:
        return UnreadableRow(row.get("id"), f"the model {model.name} does not know the labels of {task}")
    return read_example(
        {k: v for k, v in row.items() if k not in _unknown_fields(model)}, root, jpeg_side=model.jpeg_side
    )


def _unknown_fields(model: FusionModel) -> frozenset[str]:
    """Return the fields of modalities that the model does not have: their files are not opened."""
    return frozenset(f for m, names in FIELDS.items() if m not in model.modalities for f in names)
