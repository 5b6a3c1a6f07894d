"""Corrupt training items of the streams model at random: noise, dim and covered images, mistyped sentences.

As in the degraded versions of the set (data/tridigit/README.md), with small changes of pose.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

HOMOPHONES = {
    "one": "won", "two": "to", "four": "for", "eight": "ate", "six": "sicks", "nine": "nein", "zero": "sero",
    "three": "free", "seven": "sevn", "five": "fife", "2": "to", "4": "for", "8": "ate", "1": "won",
}  # fmt: skip


def corrupt_audio(
    sound: NDArray[np.float32], noises: Sequence[NDArray[np.float32]], rng: Generator
) -> NDArray[np.float32]:
    """Add noise, 0 to 18 dB below the audio."""
    noise = np.resize(noises[int(rng.integers(len(noises)))], len(sound))
    level = np.sqrt(np.mean(sound**2) + 1) / np.sqrt(np.mean(noise**2) + 1)
    noisy: NDArray[np.float32] = (sound + noise * level * 10 ** (-rng.uniform(0, 18) / 20)).astype(np.float32)
    return noisy


def corrupt_image(pixels: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    """Shift, mirror and change the light; sometimes make coarse or half cover, as in the degraded sets."""
    values = np.roll(pixels, (rng.integers(-5, 6), rng.integers(-5, 6)), axis=(0, 1)).astype(np.float32)
    if rng.random() < 0.5:
        values = values[:, ::-1]
    values = values * rng.uniform(0.6, 1.3) + rng.uniform(-20, 20)
    if rng.random() < 0.25:
        factor = int(rng.choice([4, 8]))
        side = values.shape[0] // factor
        coarse = values.reshape(side, factor, side, factor, 3).mean((1, 3))
        values = coarse.repeat(factor, 0).repeat(factor, 1)
    if rng.random() < 0.25:
        x, y = rng.integers(0, 34, 2)
        values = values.copy()
        values[y : y + 30, x : x + 30] = 0
    return np.clip(values, 0, 255).astype(np.uint8)


def corrupt_text(text: str, rng: Generator) -> str:
    """Drop words, swap letters and mishear the number, in one sentence of four."""
    if rng.random() < 0.75:
        return text
    result = []
    for word in text.split():
        if rng.random() < 0.1:
            continue
        if word.lower() in HOMOPHONES and rng.random() < 0.15:
            word = HOMOPHONES[word.lower()]
        elif len(word) > 3 and rng.random() < 0.06:
            index = int(rng.integers(0, len(word) - 1))
            word = word[:index] + word[index + 1] + word[index] + word[index + 2 :]
        result.append(word)
    return " ".join(result) or text
