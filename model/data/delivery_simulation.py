"""Simulate how messages reach a server: late, twice, out of order or not at all, with wrong clocks.

The distributions are those of the home streams (data/homestream/README.md); the same draws give the same messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.random import Generator

from model.data.homestream import RATE, Received

# Counts of digits by modalities (speech, hand, text) in the truth of S01-S04.
MODALITY_COMBINATIONS = (
    ((True, True, True), 22),
    ((True, False, True), 8),
    ((False, True, True), 5),
    ((True, False, False), 4),
    ((True, True, False), 3),
    ((False, True, False), 3),
    ((False, False, True), 2),
)
# Draws the delay of a message in seconds.
DelayDistribution = Callable[[Generator], float]
CHUNK_S, FRAME_S, IDLE_S = 0.5, 0.5, 5.0
LOST, TWICE = 0.015, 0.03


def simulate_delivery(received: list[Received], rng: Generator) -> tuple[Received, ...]:
    """Lose and duplicate messages; return the rest in order of arrival."""
    arrived = [m for m in received if rng.random() >= LOST]
    arrived += [m for m in arrived if rng.random() < TWICE]
    return tuple(sorted(arrived, key=lambda m: m.arrived_us))


def audio_messages(seconds: int, delay: DelayDistribution, rng: Generator) -> Iterator[Received]:
    """Yield the chunks of a microphone."""
    for number in range(round(seconds / CHUNK_S)):
        begin = number * CHUNK_S
        arrives = begin + CHUNK_S + delay(rng)
        span = round(begin * RATE), round((begin + CHUNK_S) * RATE)
        yield Received(_us(arrives), "mic", number, _us(begin), sound=span)


def image_messages(frames: list[tuple[float, bytes]], seconds: int, clock_offset_s: float, delay: DelayDistribution, rng: Generator) -> Iterator[Received]:
    """Yield the frames of a camera with a clock offset, and idle messages between them."""
    idle = [(t, None) for t in np.arange(0.0, seconds, IDLE_S) if all(abs(t - time_s) > 1 for time_s, _ in frames)]
    rising = sorted([*frames, *idle], key=lambda item: item[0])
    for number, (t, picture) in enumerate(rising):
        yield Received(_us(t + delay(rng)), "cam", number, _us(max(t + clock_offset_s, 0)), picture=picture)


def text_messages(texts: list[tuple[float, str]], clock_offset_s: float, delay: DelayDistribution, rng: Generator) -> Iterator[Received]:
    """Yield the messages of a person who writes, some of them seconds late."""
    for number, (t, text) in enumerate(texts):
        yield Received(_us(t + delay(rng)), "text", number, _us(max(t + clock_offset_s, 0)), text=text)


def delay_mixture(*laws: tuple[float, float, float]) -> DelayDistribution:
    """Return a mixture of uniform distributions, each (chance, from, to)."""

    def late(rng: Generator) -> float:
        if len(laws) == 1:
            return float(rng.uniform(*laws[0][1:]))
        drawn, so_far = rng.random(), 0.0
        for chance, low, high in laws[:-1]:
            so_far += chance
            if drawn < so_far:
                return float(rng.uniform(low, high))
        return float(rng.uniform(*laws[-1][1:]))

    return late


def _us(seconds: float) -> int:
    return round(seconds * 1_000_000)
