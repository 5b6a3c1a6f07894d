"""Generate home streams with their events from a seed, to choose thresholds on.

They are distributed like the recorded ones (data/homestream/README.md), as far as the truth of S01-S04 shows: events
follow each other with gaps; a digit is spoken, shown and written in any combination, a sound is audible and sometimes
titled; each source falls silent once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from model.data import splits
from model.data.delivery_simulation import MODALITY_COMBINATIONS, FRAME_S, simulate_delivery, audio_messages, delay_mixture, text_messages, image_messages
from model.data.homestream import RATE, Received
from model.encoders.text import tokenize
from model.data.background_streams import BEDS, encode_jpeg

SECONDS = 120
DIGIT_S, SOUND_S = 2.7, 4.0
DIGITS, TITLED = 0.6, 0.52
GAP_S, OUTAGE_S = (0.6, 5.0), (6.8, 16.0)
# Delays in seconds of the messages of S01-S04 against their senders' true clocks.
HEARD_LATE = delay_mixture((0.95, 0.03, 0.17), (0.05, 0.17, 0.55))
SEEN_LATE = delay_mixture((0.8, 0.08, 0.2), (0.2, 0.2, 1.4))
READ_LATE = delay_mixture((0.6, 0.2, 1.3), (0.4, 1.1, 6.2))
_CHANCES = np.array([count for _, count in MODALITY_COMBINATIONS]) / sum(count for _, count in MODALITY_COMBINATIONS)


@dataclass(frozen=True, slots=True)
class SyntheticStream:
    """One stream: messages in order of arrival, microphone int16 at 8 kHz, and (start, end, label) of its events."""

    name: str
    messages: tuple[Received, ...]
    sound: NDArray[np.int16]
    truth: tuple[tuple[float, float, str], ...]


def synthetic_streams(data: Path, part: splits.Split, seed: int, count: int) -> Iterator[SyntheticStream]:
    """Yield streams from the items of one split; the same seed gives the same streams."""
    rng = np.random.default_rng(seed)
    digits, clips = splits.load_digits(data, part), splits.load_clips(data, part)
    for number in range(count):
        yield _stream(f"made-{seed}-{number}", digits, clips, rng)


def _stream(name: str, digits: Sequence[splits.DigitSample], clips: Sequence[splits.ClipSample], rng: Generator) -> SyntheticStream:
    beds = [c for c in clips if c.label in BEDS]
    bed = beds[int(rng.integers(len(beds)))].sound
    looped = np.resize(np.roll(bed, rng.integers(len(bed))), SECONDS * RATE)
    sound = looped.astype(np.float64) * rng.uniform(0.03, 0.09)
    camera_off, text_off = rng.uniform(-0.3, 0.3), rng.uniform(-0.5, 0.3)
    frames: list[tuple[float, bytes]] = []
    texts: list[tuple[float, str]] = []
    truth = []
    time_s = rng.uniform(2, 3.5)
    while time_s < SECONDS - 6:
        if rng.random() < DIGITS:
            digit = digits[int(rng.integers(len(digits)))]
            _digit(sound, frames, texts, digit, [d for d in digits if d.label == digit.label], time_s, rng)
            lasts, label = DIGIT_S, digit.label
        else:
            labels = sorted({c.label for c in clips})
            label = labels[int(rng.integers(len(labels)))]
            alike = [c for c in clips if c.label == label]
            clip = alike[int(rng.integers(len(alike)))]
            _mix(sound, clip.sound, time_s, rng.uniform(0.28, 0.9))
            if rng.random() < TITLED and tokenize(clip.title):
                texts.append((time_s + rng.uniform(0.4, 3.4), clip.title))
            lasts = min(len(clip.sound) / RATE, SOUND_S)
        truth.append((float(time_s), float(time_s + lasts), label))
        time_s += lasts + rng.uniform(*GAP_S)
    rendered: NDArray[np.int16] = np.clip(np.round(sound), -32768, 32767).astype(np.int16)
    received = [
        *audio_messages(SECONDS, HEARD_LATE, rng),
        *image_messages(frames, SECONDS, camera_off, SEEN_LATE, rng),
        *text_messages(texts, text_off, READ_LATE, rng),
    ]
    for source in ("mic", "cam", "text"):
        begin_us, lasts_us = (round(1e6 * rng.uniform(*span)) for span in ((15, SECONDS - 15), OUTAGE_S))
        received = [m for m in received if m.source != source or not begin_us <= m.t_us < begin_us + lasts_us]
    return SyntheticStream(name, simulate_delivery(received, rng), rendered, tuple(truth))


def _digit(
    sound: NDArray[np.float64],
    frames: list[tuple[float, bytes]],
    texts: list[tuple[float, str]],
    digit: splits.DigitSample,
    same: Sequence[splits.DigitSample],
    time_s: float,
    rng: Generator,
) -> None:
    spoken, visible, written = MODALITY_COMBINATIONS[rng.choice(len(MODALITY_COMBINATIONS), p=_CHANCES)][0]
    if spoken:
        _mix(sound, digit.speech, time_s + 0.6, rng.uniform(0.22, 0.8))
    if visible:
        picture = encode_jpeg(same[int(rng.integers(len(same)))].hand)
        moments = np.arange(time_s + rng.uniform(0.4, 0.9), time_s + rng.uniform(2.2, 3.1), FRAME_S)
        frames += [(float(t), picture) for t in moments]
    if written:
        texts.append((time_s + rng.uniform(0.3, 2.6), same[int(rng.integers(len(same)))].text))


def _mix(sound: NDArray[np.float64], samples: NDArray[np.float32], time_s: float, gain: float) -> None:
    begin = round(time_s * RATE)
    part = samples[: len(sound) - begin]
    sound[begin : begin + len(part)] += gain * part
