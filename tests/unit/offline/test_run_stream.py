"""Streaming equals offline: chunks in any order give the same result as one pass over the whole window."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from random import Random

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from model.checkpoint import load as load_model
from model.data.homestream import Received
from model.decode import Undecodable, decode_image
from model.predictor import FusionModel
from services.fusion.inference import Inference
from services.offline.evaluation.dataset import RecordedStream, read_stream
from services.offline.evaluation.run_stream import ORIGIN_US, run_stream
from services.runtime.settings import ROOT

RATE, SAMPLE_US = 8_000, 125
FROM_S, TO_S = 44, 56
SIZE_US, HOP_US = 2_000_000, 500_000
DISORDER_US = 250_000
STREAM = "S06"


@cache
def stream() -> RecordedStream:
    return read_stream(ROOT / "data", STREAM)


@cache
def served() -> FusionModel:
    return load_model(ROOT / "models" / "home" / "1", "cpu")


@cache
def images_and_texts() -> tuple[Received, ...]:
    """Return the images and sentences of the tested part, each once."""
    once = {(m.source, m.sequence): m for m in stream().messages if m.sound is None}
    seen = [m for m in once.values() if FROM_S <= m.t_us / 1e6 < TO_S and (m.picture or m.text)]
    return tuple(sorted(seen, key=lambda m: (m.t_us, m.source, str(m.sequence))))


@cache
def predict_offline(start_us: int) -> NDArray[np.float64]:
    """Return the log probabilities of one pass over the window's audio, without cache, padding or services."""
    model, network = served(), served()._network
    begin, end = start_us // SAMPLE_US, (start_us + SIZE_US) // SAMPLE_US
    audio = (stream().audio[begin:end] / 32768).astype(np.float32)
    held = [m for m in images_and_texts() if start_us <= m.t_us < start_us + SIZE_US]
    texts = [model.prepare("text", m.text) for m in held if m.text is not None]
    images = []
    for m in held:
        if m.picture is not None:
            assert not isinstance(m.picture, bytes)
            pixels = decode_image(m.picture.read_bytes())
            assert not isinstance(pixels, Undecodable)
            images.append(model.prepare("video", pixels))
    with torch.inference_mode():
        inputs = {"audio": list(audio.reshape(4, -1)), "text": texts, "video": images}
        items = {name: torch.zeros(1, 1, 64) for name in inputs}
        for name, values in inputs.items():
            if values:
                items[name] = network.item_encoder(name)(torch.from_numpy(np.stack(values))).unsqueeze(0)
        there = {name: torch.full((1, items[name].shape[1]), bool(values)) for name, values in inputs.items()}
        branches = network.branches(items, there)
        present = torch.tensor([[bool(texts), bool(images), True]])
        rows: NDArray[np.float64] = network.subset_log_probs(branches, present)[0].double().numpy()
        return rows


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.integers(1, (TO_S - FROM_S) * RATE - 1), max_size=60, unique=True),
    st.randoms(use_true_random=False),
)
def test_any_chunking_in_any_order_gives_the_logits_of_one_pass(cuts: list[int], random: Random) -> None:
    # one pass    |------------------------------|
    # streamed    |--|-|------|---|----|-|-------|   chunks out of order by up to a quarter of a second,
    #                                                windows of 2 s every half second, features reused between them
    edges = sorted({0, *cuts, *range(0, (TO_S - FROM_S) * RATE, RATE), (TO_S - FROM_S) * RATE})
    messages = []
    for number, (low, high) in enumerate(pairwise(edges)):
        begin, end = FROM_S * RATE + low, FROM_S * RATE + high
        # Lateness counts from the start of a chunk, so a long chunk may be delayed less.
        disorder_us = max(DISORDER_US - (end - begin) * SAMPLE_US, 0)
        arrives_us = end * SAMPLE_US + random.randint(0, disorder_us)
        messages.append(Received(arrives_us, "mic", number, begin * SAMPLE_US, sound=(begin, end)))
    for m in images_and_texts():
        arrives_us = m.t_us + random.randint(0, DISORDER_US)
        messages.append(Received(arrives_us, m.source, m.sequence, m.t_us, picture=m.picture, text=m.text))
    recording = RecordedStream("again", tuple(sorted(messages, key=lambda m: m.arrived_us)), stream().audio)
    inference = Inference(served(), 64 * 1024 * 1024)
    played = run_stream(recording, inference)
    compared = 0
    for out, predicted in zip(played.windows, played.predictions, strict=True):
        start_us = out.window.start_us - ORIGIN_US
        if out.window.final and start_us >= FROM_S * 1e6 and start_us + SIZE_US <= TO_S * 1e6:
            np.testing.assert_allclose(predicted.rows, predict_offline(start_us), rtol=0, atol=1e-5)
            compared += 1
    assert compared == (TO_S - FROM_S) * 2 - 3
    assert inference.encoded["audio"] < inference.requested["audio"], "features were reused"
