"""Generate items that have no label: sounds, speech, images and sentences.

The sets have no recordings of such things, so they are generated: tones, hums, knocks and notes; pieces of several words
that are too short to be one; shuffled photos or parts of their background; sentences without their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from model.data.splits import DigitSample
from model.decode import RATE
from model.labels import SOUNDS

NUMBERS = frozenset(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred first second third fourth fifth "
    "sixth seventh eighth ninth tenth once twice".split()
)
_NAMED = NUMBERS | {part for sound in SOUNDS for part in sound.split("_")}
_FIGURE = re.compile(r"[0-9]")
WORDS = (4, 9)
SIDE = 64
Sound = NDArray[np.float32]


class OutOfDistribution:
    """Generates items from the sentences, photos and recordings of digits."""

    def __init__(self, digits: Sequence[DigitSample], rng: Generator) -> None:
        self._digits, self._rng = digits, rng
        self._words = sorted({w for d in digits for w in _without_numbers(d.text).lower().split()} - _NAMED)

    def sentence(self) -> str:
        """Generate a sentence: a real one without its numbers, or words of such sentences in random order."""
        rng = self._rng
        if rng.random() < 0.6:
            left = _without_numbers(self._digits[int(rng.integers(len(self._digits)))].text)
            if left:
                return left
        return " ".join(self._words[i] for i in rng.integers(0, len(self._words), rng.integers(*WORDS)))

    def picture(self) -> NDArray[np.uint8]:
        """Generate pixels uint8 [64, 64, 3]: a shuffled photo, an enlarged corner of one, or a texture."""
        rng = self._rng
        hand = self._digits[int(rng.integers(len(self._digits)))].hand
        kind = rng.integers(3)
        if kind == 0:
            tile = int(rng.choice([8, 16]))
            side = SIDE // tile
            tiles = hand[:SIDE, :SIDE].reshape(side, tile, side, tile, 3).swapaxes(1, 2).reshape(-1, tile, tile, 3)
            mixed = tiles[rng.permutation(len(tiles))].reshape(side, side, tile, tile, 3).swapaxes(1, 2)
            shuffled: NDArray[np.uint8] = mixed.reshape(SIDE, SIDE, 3)
            return shuffled
        if kind == 1:
            y, x = rng.choice([0, SIDE - 12], 2)
            corner: NDArray[np.uint8] = hand[y : y + 12, x : x + 12].repeat(6, 0).repeat(6, 1)[:SIDE, :SIDE]
            return corner
        coarse = rng.uniform(0, 255, (int(rng.integers(2, 9)), int(rng.integers(2, 9)), 3))
        rows, columns = (np.linspace(0, n - 1, SIDE).round().astype(int) for n in coarse.shape[:2])
        texture = coarse[rows][:, columns] + rng.normal(0, 12, (SIDE, SIDE, 3))
        return np.asarray(np.clip(texture, 0, 255), np.uint8)

    def speech(self) -> Sound:
        """Generate about half a second of voice without a word: pieces of 50 to 110 ms of several words, some backwards."""
        rng = self._rng
        samples = np.zeros(0, np.float32)
        for i in rng.integers(0, len(self._digits), rng.integers(5, 10)):
            recording = self._digits[i].speech
            length = int(rng.integers(RATE * 50 // 1000, RATE * 110 // 1000))
            begin = int(rng.integers(0, max(len(recording) - length, 1)))
            piece = recording[begin : begin + length] * np.hanning(min(length, len(recording) - begin)) ** 0.25
            samples = np.concatenate([samples, piece[:: rng.choice([-1, 1])].astype(np.float32)])
        return samples

    def sound(self) -> Sound:
        """Generate one to four seconds of synthetic sound, int16 scale, about as loud as the recorded ones."""
        rng = self._rng
        time = np.arange(int(rng.uniform(1, 4) * RATE)) / RATE
        make = (self._hum, self._beeps, self._knocks, self._notes, self._whistle)[rng.integers(5)]
        samples = make(time)
        loud = 10 ** rng.uniform(2.6, 3.5)
        level = np.sqrt(np.mean(samples**2)) + 1e-6
        levelled: Sound = np.clip(samples / level * loud, -32768, 32767).astype(np.float32)
        return levelled

    def _hum(self, time: NDArray[np.float64]) -> NDArray[np.float64]:
        base = self._rng.uniform(45, 180)
        tones = [np.sin(2 * np.pi * base * n * time) * self._rng.uniform(0.1, 1) / n for n in range(1, 8)]
        summed: NDArray[np.float64] = np.sum(tones, axis=0)
        return summed

    def _beeps(self, time: NDArray[np.float64]) -> NDArray[np.float64]:
        rng = self._rng
        period, share, pitch = rng.uniform(0.15, 0.8), rng.uniform(0.3, 0.8), rng.uniform(400, 3000)
        step = np.floor(time / period)
        return np.sin(2 * np.pi * pitch * (1 + 0.3 * (step % 2)) * time) * (time / period - step < share)

    def _knocks(self, time: NDArray[np.float64]) -> NDArray[np.float64]:
        rng = self._rng
        samples = np.zeros_like(time)
        for begin_s in np.cumsum(rng.uniform(0.12, 0.5, 12)):
            after = np.clip(time - begin_s, 0, None)
            samples += (time > begin_s) * np.exp(-after * rng.uniform(20, 60)) * np.sin(2 * np.pi * rng.uniform(70, 320) * after)
        return samples

    def _notes(self, time: NDArray[np.float64]) -> NDArray[np.float64]:
        rng = self._rng
        samples = np.zeros_like(time)
        for begin_s in np.cumsum(rng.uniform(0.1, 0.6, 10)) - 0.1:
            after, pitch = np.clip(time - begin_s, 0, None), 110 * 2 ** (rng.integers(0, 36) / 12)
            for n in (1, 2, 3, 4):
                samples += (time > begin_s) * np.exp(-after * 4) * np.sin(2 * np.pi * pitch * n * after) / n
        return samples

    def _whistle(self, time: NDArray[np.float64]) -> NDArray[np.float64]:
        """Generate noise in a narrow band with varying level, like wind in a gap."""
        rng = self._rng
        spectrum = np.fft.rfft(rng.normal(0, 1, len(time)))
        pitch, wide = rng.uniform(300, 2500), rng.uniform(10, 60)
        spectrum *= np.exp(-(((np.fft.rfftfreq(len(time), 1 / RATE) - pitch) / wide) ** 2))
        samples: NDArray[np.float64] = np.fft.irfft(spectrum, len(time))
        return samples * (1 + 0.8 * np.sin(2 * np.pi * rng.uniform(0.2, 2) * time))


def _without_numbers(text: str) -> str:
    return " ".join(w for w in text.split() if w.lower().strip(".,'") not in NUMBERS and not _FIGURE.search(w))
