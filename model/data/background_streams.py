"""Generate streams in which nothing happens that has a label, as a server would receive them, from a seed.

A background sound throughout, a camera that sends two frames per second while there is something to see, and messages
delivered as in the home streams (model/data/delivery_simulation.py).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from model.data import splits
from model.data.delivery_simulation import FRAME_S, simulate_delivery, audio_messages, delay_mixture, text_messages, image_messages
from model.data.homestream import RATE, Received
from model.data.out_of_distribution import OutOfDistribution

SECONDS = 120
# Background sounds: those that last, as in the home streams.
BEDS = ("rain", "sea_waves", "clock_tick", "crackling_fire", "helicopter")
# Chances that an activity is audible, visible and written; half of the audible ones are voices.
BY = (0.8, 0.35, 0.35)

HEARD_LATE, SEEN_LATE = delay_mixture((1, 0.02, 0.15)), delay_mixture((1, 0.05, 0.45))
READ_LATE = delay_mixture((0.85, 0.1, 0.8), (0.15, 1, 5))


@dataclass(frozen=True, slots=True)
class BackgroundStream:
    """One stream: its messages in order of arrival, and its microphone int16 at 8 kHz."""

    name: str
    messages: tuple[Received, ...]
    sound: NDArray[np.int16]


def background_streams(data: Path, part: splits.Split, seed: int, count: int, seconds: int = SECONDS) -> Iterator[BackgroundStream]:
    """Yield streams from the items of one split; the same seed gives the same streams."""
    rng = np.random.default_rng(seed)
    digits, clips = splits.load_digits(data, part), [c for c in splits.load_clips(data, part) if c.label in BEDS]
    outside = OutOfDistribution(digits, rng)
    for number in range(count):
        yield _stream(f"quiet-{seed}-{number}", outside, clips[int(rng.integers(len(clips)))], rng, seconds)


def _stream(name: str, outside: OutOfDistribution, bed: splits.ClipSample, rng: Generator, seconds: int) -> BackgroundStream:
    sound = np.resize(np.roll(bed.sound, rng.integers(len(bed.sound))), seconds * RATE) * rng.uniform(0.03, 0.09)
    camera_off, text_off = rng.uniform(-0.3, 0.3), rng.uniform(-0.5, 0.3)
    frames, texts = [], []
    begin_s = rng.uniform(0, 4)
    while begin_s < seconds - 5:
        loud, visible, written = rng.random(3) < BY
        if loud:
            strange = outside.speech() if rng.random() < 0.5 else outside.sound()
            begin = round(begin_s * RATE)
            sound[begin : begin + len(strange)] += strange * rng.uniform(0.22, 0.9)
        if visible:
            picture = encode_jpeg(outside.picture())
            frames += [(float(t), picture) for t in np.arange(begin_s + 0.3, begin_s + rng.uniform(1, 3), FRAME_S)]
        if written:
            texts.append((begin_s + rng.uniform(0.1, 2.6), outside.sentence()))
        begin_s += rng.uniform(2.5, 8)
    rendered: NDArray[np.int16] = np.clip(np.round(sound), -32768, 32767).astype(np.int16)
    received = [
        *audio_messages(seconds, HEARD_LATE, rng),
        *image_messages(frames, seconds, camera_off, SEEN_LATE, rng),
        *text_messages(texts, text_off, READ_LATE, rng),
    ]
    return BackgroundStream(name, simulate_delivery(received, rng), rendered)


def encode_jpeg(pixels: NDArray[np.uint8]) -> bytes:
    """Encode pixels as JPEG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()
