"""Run a served model on decoded examples."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.data.example import Example
from model.encoders.audio import SEGMENT_SAMPLES
from model.modality import MODALITIES
from model.predictor import FusionModel, WindowFeatures

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
