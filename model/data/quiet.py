"""Streams in which nothing happens that a label names: what a server would receive of them, made anew from a seed.

The law is that of the home streams (data/homestream/README.md): an ambience below everything, a camera that sends two
frames a second while there is something to see, messages that come late, twice, out of order or not at all.
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

from model.data import sets
from model.data.homestream import RATE, Received
from model.data.outside import Outside

SECONDS = 120
CHUNK_S, FRAME_S, IDLE_S = 0.5, 0.5, 5.0
LOST, TWICE = 0.015, 0.03
# What an ambience is made of: sounds that last, as in the home streams.
BEDS = ("rain", "sea_waves", "clock_tick", "crackling_fire", "helicopter")
# Chances that a happening is heard, shown and told; half of what is heard is voices.
BY = (0.8, 0.35, 0.35)


@dataclass(frozen=True, slots=True)
class Quiet:
    """One stream: its messages in order of arrival, and its microphone int16 at 8 kHz."""

    name: str
    messages: tuple[Received, ...]
    sound: NDArray[np.int16]


def quiet_streams(data: Path, part: sets.Part, seed: int, count: int, seconds: int = SECONDS) -> Iterator[Quiet]:
    """Streams from the beds, photos, voices and sentences of one part of the sets; the same seed gives the same ones."""
    rng = np.random.default_rng(seed)
    digits, clips = sets.digits(data, part), [c for c in sets.clips(data, part) if c.label in BEDS]
    outside = Outside(digits, rng)
    for number in range(count):
        yield _stream(f"quiet-{seed}-{number}", outside, clips[int(rng.integers(len(clips)))], rng, seconds)


def _stream(name: str, outside: Outside, bed: sets.Clip, rng: Generator, seconds: int) -> Quiet:
    sound = np.resize(np.roll(bed.sound, rng.integers(len(bed.sound))), seconds * RATE) * rng.uniform(0.03, 0.09)
    camera_off, text_off = rng.uniform(-0.3, 0.3), rng.uniform(-0.5, 0.3)
    frames, texts = [], []
    at = rng.uniform(0, 4)
    while at < seconds - 5:
        heard, shown, written = rng.random(3) < BY
        if heard:
            strange = outside.speech() if rng.random() < 0.5 else outside.sound()
            begin = round(at * RATE)
            sound[begin : begin + len(strange)] += strange * rng.uniform(0.22, 0.9)
        if shown:
            picture = _jpeg(outside.picture())
            frames += [(float(t), picture) for t in np.arange(at + 0.3, at + rng.uniform(1, 3), FRAME_S)]
        if written:
            texts.append((at + rng.uniform(0.1, 2.6), outside.sentence()))
        at += rng.uniform(2.5, 8)
    rendered: NDArray[np.int16] = np.clip(np.round(sound), -32768, 32767).astype(np.int16)
    received = [*_heard(seconds, rng), *_seen(frames, seconds, camera_off, rng), *_read(texts, text_off, rng)]
    arrived = [m for m in received if rng.random() >= LOST]
    arrived += [m for m in arrived if rng.random() < TWICE]
    return Quiet(name, tuple(sorted(arrived, key=lambda m: m.arrived_us)), rendered)


def _heard(seconds: int, rng: Generator) -> Iterator[Received]:
    for number in range(round(seconds / CHUNK_S)):
        begin = number * CHUNK_S
        arrives = begin + CHUNK_S + rng.uniform(0.02, 0.15)
        span = round(begin * RATE), round((begin + CHUNK_S) * RATE)
        yield Received(_us(arrives), "mic", number, _us(begin), sound=span)


def _seen(frames: list[tuple[float, bytes]], seconds: int, off: float, rng: Generator) -> Iterator[Received]:
    idle = [(t, None) for t in np.arange(0.0, seconds, IDLE_S) if all(abs(t - at) > 1 for at, _ in frames)]
    rising = sorted([*frames, *idle], key=lambda item: item[0])
    for number, (t, picture) in enumerate(rising):
        yield Received(_us(t + rng.uniform(0.05, 0.45)), "cam", number, _us(max(t + off, 0)), picture=picture)


def _read(texts: list[tuple[float, str]], off: float, rng: Generator) -> Iterator[Received]:
    for number, (t, text) in enumerate(texts):
        late = rng.uniform(0.1, 0.8) if rng.random() < 0.85 else rng.uniform(1, 5)
        yield Received(_us(t + late), "text", number, _us(max(t + off, 0)), text=text)


def _jpeg(pixels: NDArray[np.uint8]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=90)
    return out.getvalue()


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
