"""Degrade samples: the versions that the tridigit manifest states, and random ones of the same distribution."""

from __future__ import annotations

from collections.abc import Sequence
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

SOUND_ALIKES = {
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
        if word.lower() in SOUND_ALIKES and rng.random() < 0.15:
            word = SOUND_ALIKES[word.lower()]
        elif len(word) > 3 and rng.random() < 0.06:
            index = int(rng.integers(0, len(word) - 1))
            word = word[:index] + word[index + 1] + word[index] + word[index + 2 :]
        result.append(word)
    return " ".join(result) or text


Severity = Literal["clean", "noisy", "harsh"]
SEVERITIES: tuple[Severity, ...] = ("clean", "noisy", "harsh")
CANVAS_SAMPLES, SIDE = 16_000, 64
PEAK = 32_000.0
# Homophones in the degraded sentences of the training rows, by digit.
HOMOPHONES = (
    ("oh", "hero", "sero"), ("won", "want"), ("to", "too"), ("free", "tree"), ("for", "fore"),
    ("hive", "fine"), ("sick", "fix"), ("sven", "heaven"), ("ate", "late"), ("mine", "line"),
)  # fmt: skip
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WORD_DROPPED, LETTERS_SWAPPED = 0.10, 0.06


@dataclass(frozen=True, slots=True)
class DegradationLaw:
    """The distribution of one severity; ranges are inclusive, `down` is drawn with equal chances."""

    snr_db: tuple[int, ...]
    gain: tuple[float, float]
    down: tuple[int, ...]
    corner: tuple[int, int]
    side: tuple[int, int]
    misheard: float
    number_dropped: float


LAWS: Mapping[str, DegradationLaw] = {
    "noisy": DegradationLaw((-15, -12, -9, -6, -3), (0.1, 0.6), (4, 8, 8, 16), (0, 39), (20, 35), 0.30, 0.32),
    "harsh": DegradationLaw((-24, -20, -16, -12, -8), (0.04, 0.25), (8, 16), (0, 31), (30, 45), 0.35, 0.45),
}


def place_on_canvas(speech: NDArray[np.float32], onset: int = 0) -> NDArray[np.float32]:
    """Place a recording on a canvas of two seconds, float32 [CANVAS_SAMPLES], cut at its end."""
    canvas = np.zeros(CANVAS_SAMPLES, np.float32)
    part = speech[: CANVAS_SAMPLES - onset]
    canvas[onset : onset + len(part)] = part
    return canvas


def mix_noise(
    speech: NDArray[np.float32], noise: NDArray[np.float32], onset: int, noise_gain: float, scale: float
) -> NDArray[np.float32]:
    """Mix speech and noise, int16 scale: y = clip(round((canvas + noise_gain * noise) * scale))."""
    mixed = (place_on_canvas(speech, onset) + noise_gain * noise[:CANVAS_SAMPLES]) * scale
    drowned: NDArray[np.float32] = np.clip(np.round(mixed), -32768, 32767).astype(np.float32)
    return drowned


def degrade_pixels(pixels: NDArray[np.uint8], gain: float, down: int, occlude: Sequence[int]) -> NDArray[np.uint8]:
    """Make an image coarse, then dark, then covered: uint8 [SIDE, SIDE, 3]."""
    blocks = pixels.reshape(SIDE // down, down, SIDE // down, down, 3).astype(np.float32).mean((1, 3))
    values = np.round(blocks * np.float32(gain)).repeat(down, 0).repeat(down, 1)
    x, y, width, height = occlude
    values[y : y + height, x : x + width] = 0
    covered: NDArray[np.uint8] = np.clip(values, 0, 255).astype(np.uint8)
    return covered


def degrade_audio(
    row: Mapping[str, Any], speech: NDArray[np.float32], noises: Mapping[str, NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return the audio of a row's `noisy` or `harsh` version."""
    return mix_noise(speech, noises[row["noise"]], row["onset"], row["noise_gain"], row["scale"])


def degrade_image(row: Mapping[str, Any], pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the image of a row's `noisy` or `harsh` version."""
    image = row["image"]
    return degrade_pixels(pixels, image["gain"], image["down"], image["occlude"])


def draw_audio(
    speech: NDArray[np.float32], noises: Sequence[NDArray[np.float32]], severity: Severity, rng: Generator
) -> NDArray[np.float32]:
    """Degrade a recording at random."""
    if severity == "clean":
        return place_on_canvas(speech)
    noise = noises[int(rng.integers(len(noises)))]
    snr_db = float(rng.choice(LAWS[severity].snr_db))
    onset = int(rng.integers(0, max(CANVAS_SAMPLES - len(speech), 0) + 1))
    gain = float(np.sqrt(np.mean(speech**2) / np.mean(noise**2)) * 10 ** (-snr_db / 20))
    peak = float(np.abs(place_on_canvas(speech, onset) + gain * noise[:CANVAS_SAMPLES]).max())
    return mix_noise(speech, noise, onset, gain, min(1.0, PEAK / max(peak, 1.0)))


def draw_image(pixels: NDArray[np.uint8], severity: Severity, rng: Generator) -> NDArray[np.uint8]:
    """Degrade an image at random."""
    if severity == "clean":
        return pixels
    law = LAWS[severity]
    width, height = rng.integers(law.side[0], law.side[1] + 1, 2)
    x, y = rng.integers(law.corner[0], law.corner[1] + 1, 2)
    return degrade_pixels(pixels, float(rng.uniform(*law.gain)), int(rng.choice(law.down)), (x, y, width, height))


def draw_text(text: str, digit: int, severity: Severity, rng: Generator) -> str:
    """Degrade a sentence at random; the word that names the digit has chances of its own."""
    if severity == "clean":
        return text
    law = LAWS[severity]
    digit_index = find_digit_word(text.split(), digit)
    result = []
    for index, word in enumerate(text.split()):
        if index == digit_index:
            chance = rng.random()
            if chance < law.number_dropped:
                continue
            result.append(str(rng.choice(HOMOPHONES[digit])) if chance < law.number_dropped + law.misheard else word)
        elif rng.random() >= WORD_DROPPED:
            result.append(_swap_letters(word, rng) if len(word) > 3 and rng.random() < LETTERS_SWAPPED else word)
    return " ".join(result)


def find_digit_word(words: Sequence[str], digit: int) -> int | None:
    """Return the index of the first word that names the digit, None if there is none."""
    names = (str(digit), WORDS[digit])
    return next((index for index, word in enumerate(words) if word.lower().strip(".,!?-'\"") in names), None)


def _swap_letters(word: str, rng: Generator) -> str:
    index = int(rng.integers(0, len(word) - 1))
    return word[:index] + word[index + 1] + word[index] + word[index + 2 :]
