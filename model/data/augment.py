"""Augment training items: change pace, pose, light and number, but never the label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from model.data.degradations import WORDS, find_digit_word

LARGER = ("ten", "eleven", "twelve", "fifteen", "twenty", "thirty", "forty", "fifty")
SINGLE_NOISE_CHANCE = 0.3
OTHER_NOTATION_CHANCE = 0.2


def change_pace(sound: NDArray[np.float32], rng: Generator) -> NDArray[np.float32]:
    """Change pace and pitch by up to an eighth, in most cases."""
    if rng.random() < 0.4 or len(sound) < 2:
        return sound
    places = np.arange(0, len(sound) - 1, rng.uniform(0.88, 1.14))
    other: NDArray[np.float32] = np.interp(places, np.arange(len(sound)), sound).astype(np.float32)
    return other


def vary_noises(noises: Sequence[NDArray[np.float32]], rng: Generator) -> Sequence[NDArray[np.float32]]:
    """Return the noises, or sometimes only one of them with another start, so that none is learned by heart."""
    if rng.random() >= SINGLE_NOISE_CHANCE:
        return noises
    noise = noises[int(rng.integers(len(noises)))]
    return [np.roll(noise, int(rng.integers(len(noise))))]


def transform_image(pixels: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    """Rotate, scale and shift slightly, and change the light half of the time; never mirror, because signs are of one hand."""
    side = pixels.shape[0]
    turn, zoom = rng.uniform(-0.1, 0.1), rng.uniform(0.94, 1.07)
    cosine, sine = np.cos(turn) / zoom, np.sin(turn) / zoom
    dx, dy = rng.uniform(-2.5, 2.5, 2)
    middle = side / 2
    matrix = (
        cosine, sine, middle - cosine * middle - sine * middle + dx,
        -sine, cosine, middle + sine * middle - cosine * middle + dy,
    )  # fmt: skip
    fill = tuple(int(v) for v in np.median(pixels.reshape(-1, 3), 0))
    image = Image.fromarray(pixels).transform(
        (side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=fill
    )
    transformed = np.asarray(image)
    if rng.random() < 0.5:
        transformed = np.clip(transformed * rng.uniform(0.8, 1.2, 3) + rng.uniform(-12, 12), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(transformed)


def replace_digit(text: str, old_digit: int, digit: int, rng: Generator) -> str:
    """Replace the digit that a sentence names, in digits or letters, mostly as in the sentence."""
    words = text.split()
    index = find_digit_word(words, old_digit)
    if index is None:
        return text
    figures = words[index][:1].isdigit() == (rng.random() >= OTHER_NOTATION_CHANCE)
    if old_digit != digit or figures != words[index][:1].isdigit():
        words[index] = str(digit) if figures else WORDS[digit]
    return " ".join(words)


def replace_digit_by_number(text: str, digit: int, rng: Generator) -> str:
    """Replace the digit that a sentence names by a larger number, which has no label."""
    words = text.split()
    index = find_digit_word(words, digit)
    if index is None:
        return text
    words[index] = str(rng.choice(LARGER)) if rng.random() < 0.5 else str(rng.integers(10, 100))
    return " ".join(words)


def change_distance(
    sound: NDArray[np.float32], bed: NDArray[np.float32], samples_max: int, rng: Generator
) -> NDArray[np.float32]:
    """Change start and level of an audio clip, sometimes over a faint background of another; at most samples_max long."""
    if rng.random() < 0.7:
        sound = np.roll(sound, int(rng.integers(len(sound))))
    if rng.random() < 0.5:
        lead = int(rng.integers(0, samples_max // 4))
        sound = np.concatenate([np.zeros(lead, np.float32), sound])
    sound = sound[:samples_max] * np.float32(10 ** (rng.uniform(-12, 6) / 20))
    if rng.random() < 0.4:
        sound = sound + np.resize(bed, len(sound)) * np.float32(10 ** (rng.uniform(-30, -12) / 20))
    return sound.astype(np.float32)


def drop_title_words(title: str, rng: Generator) -> str:
    """Drop one word in six of a title, and sometimes change the order."""
    words = [word for word in title.split() if rng.random() >= 0.17] or title.split()
    if rng.random() < 0.3:
        words = [words[i] for i in rng.permutation(len(words))]
    return " ".join(words)
