"""Generate scenes: short synthetic parts of a home stream, from training items, distributed like the streams.

Events follow each other with gaps; a digit is spoken, shown and written in any combination, a sound is audible and
sometimes titled; clocks are off, messages get lost, sources fail.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from model.decode import RATE
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from numpy.random import Generator
from model.data.augment import replace_digit
from model.data.degradations import corrupt_image, corrupt_audio, corrupt_text
from model.data.delivery_simulation import MODALITY_COMBINATIONS
from model.data.out_of_distribution import OutOfDistribution
from model.data.splits import ClipSample, DigitSample
from model.encoders.audio import SEGMENT_SAMPLES
from model.encoders.text import tokenize
from model.labels import NOTHING

PIECE_SAMPLES = RATE // 4
# Least amplitude of the added audio, relative to the existing audio and absolute (int16 scale).
RELATIVE_MIN, AMPLITUDE_MIN = 0.6, 15.0
# Pauses of up to half a second count as audible: the pauses between ticks belong to the clock.
LINGER_PIECES = 2


def find_audible_spans(
    before: NDArray[np.float32], after: NDArray[np.float32], begin: float, end: float
) -> list[tuple[float, float]]:
    """Return the spans [from, to) in seconds, within [begin, end), in which audio that was added to `before` is audible."""
    count = len(before) // PIECE_SAMPLES
    added, existing = (
        np.sqrt(np.mean(sound[: count * PIECE_SAMPLES].reshape(count, PIECE_SAMPLES).astype(np.float64) ** 2, axis=1))
        for sound in (after - before, before)
    )
    loud = np.flatnonzero((added > RELATIVE_MIN * existing) & (added > AMPLITUDE_MIN))
    audible = np.zeros(count, np.bool_)
    for piece in loud:
        audible[max(piece - LINGER_PIECES, 0) : piece + LINGER_PIECES + 1] = True
    edges = np.flatnonzero(np.diff(np.concatenate([[False], audible, [False]]).astype(int)))
    spans = [(low * PIECE_SAMPLES / RATE, high * PIECE_SAMPLES / RATE) for low, high in zip(edges[::2], edges[1::2], strict=True)]
    return [(max(low, begin), min(high, end)) for low, high in spans if max(low, begin) < min(high, end)]


SEGMENTS = 32
SECONDS = SEGMENTS / 2
WINDOW_SEGMENTS = 4
WINDOWS = SEGMENTS - WINDOW_SEGMENTS + 1
_COMBINATIONS = [combination for combination, _ in MODALITY_COMBINATIONS]
_CHANCES = np.array([count for _, count in MODALITY_COMBINATIONS]) / sum(count for _, count in MODALITY_COMBINATIONS)
EVIDENCE_MIN = 0.35
# Chances of an audio window with a word, with a home sound, with neither.
ALONE_CHANCES = (0.4, 0.4, 0.2)
# Chance of an event without label in a scene, and the chances that it is audible, visible and written.
OOD_CHANCE = 0.2
OOD_MODALITY_CHANCES = (0.7, 0.35, 0.35)


class Evidence(NamedTuple):
    """Evidence of an event in one modality: an instant with its weight, or a span with its weight per second."""

    modality: str
    begin: float
    end: float
    weight: float

    def amount_within(self, begin: float, end: float) -> float:
        """Return the amount of evidence in a window."""
        if self.begin == self.end:
            return self.weight if begin <= self.begin < end else 0.0
        return min(self.weight * max(min(self.end, end) - max(self.begin, begin), 0.0), 1.0)


@dataclass(slots=True)
class Scene:
    """Sound float32 [SEGMENTS * SEGMENT_SAMPLES], int16 scale, with `received` per segment; frames and texts with their times.

    `evidence` holds the label of each event with its evidence.
    """

    sound: NDArray[np.float32]
    received: NDArray[np.bool_]
    frames: list[tuple[float, NDArray[np.uint8]]] = field(default_factory=list)
    texts: list[tuple[float, str]] = field(default_factory=list)
    evidence: list[tuple[str, list[Evidence]]] = field(default_factory=list)

    def label(self, window: int, modality: str | None = None) -> str:
        """Return the label of a window (in one modality): the event with the most evidence, or nothing if there is too little."""
        begin, end = window / 2, window / 2 + WINDOW_SEGMENTS / 2
        best, most = NOTHING, EVIDENCE_MIN
        for label, parts in self.evidence:
            total = sum(part.amount_within(begin, end) for part in parts if modality in (None, part.modality))
            if total > most:
                best, most = label, total
        return best


class SceneGenerator:
    """Generates scenes from items; `shake` corrupts them for training."""

    def __init__(
        self,
        digits: Sequence[DigitSample],
        clips: Sequence[ClipSample],
        noises: Sequence[NDArray[np.float32]],
        rng: Generator,
        *,
        shake: bool,
    ) -> None:
        self._digits, self._clips, self._noises, self._rng, self._shake = digits, clips, noises, rng, shake
        self.out_of_distribution = OutOfDistribution(digits, rng)
        self._by_label: dict[str, list[ClipSample]] = {}
        for clip in clips:
            self._by_label.setdefault(clip.label, []).append(clip)

    def make(self) -> Scene:
        """Generate a scene."""
        rng = self._rng
        scene = Scene(self._bed(SEGMENTS * SEGMENT_SAMPLES), np.ones(SEGMENTS, np.bool_))
        camera_off, text_off = rng.uniform(-0.3, 0.3), rng.uniform(-0.5, 0.3)
        time_s = rng.uniform(-3, 3)
        while time_s < SECONDS:
            if rng.random() < OOD_CHANCE:
                time_s += self._add_out_of_distribution(scene, time_s, camera_off, text_off)
            elif rng.random() < 0.6:
                time_s += self._add_digit(scene, time_s, camera_off, text_off)
            else:
                time_s += self._add_sound(scene, time_s, text_off)
            time_s += rng.uniform(0.3, 5) if rng.random() < 0.9 else rng.uniform(5, 12)
        if self._shake and rng.random() < 0.35:
            scene.sound = corrupt_audio(scene.sound, self._noises, rng)
        self._drop_data(scene)
        return scene

    def make_audio_window(self) -> tuple[NDArray[np.float32], str]:
        """Generate one window of audio, int16 scale, and its label: one word, one home sound, or nothing.

        Windows with an ambiguous part of a word or sound are drawn again.
        """
        rng = self._rng
        while True:
            scene = Scene(self._bed(WINDOW_SEGMENTS * SEGMENT_SAMPLES), np.ones(WINDOW_SEGMENTS, np.bool_))
            label, evidence, least, enough = NOTHING, 0.0, 0.0, 0.0
            kind = rng.choice(3, p=ALONE_CHANCES)
            if kind == 0:
                digit = self._digits[int(rng.integers(len(self._digits)))]
                part = self._mix(scene, digit.speech, rng.uniform(-0.3, 1.8), rng.uniform(0.22, 0.8), weight=1.0)
                length = part.end - part.begin
                label, evidence, least, enough = digit.label, part.amount_within(0, 2), 0.3 * length, 0.7 * length
            elif kind == 1:
                clip = self._clip()
                parts = self._mix_audible(scene, clip.sound, rng.uniform(-3.5, 1.5), rng.uniform(0.28, 0.9), weight=1.0)
                label, evidence, least, enough = clip.label, sum(p.amount_within(0, 2) for p in parts), 0.2, 0.5
            elif rng.random() < 0.6:
                self._mix(scene, self._out_of_distribution_sound(), rng.uniform(-2, 1.5), rng.uniform(0.22, 0.9), weight=0.0)
            if least <= evidence < enough:
                continue
            if self._shake and rng.random() < 0.3:
                scene.sound = corrupt_audio(scene.sound, self._noises, rng)
            return scene.sound, label if evidence >= enough else NOTHING

    def _bed(self, length: int) -> NDArray[np.float32]:
        bed = self._clips[int(self._rng.integers(len(self._clips)))].sound
        rolled = np.roll(bed, self._rng.integers(len(bed)))
        return (np.resize(rolled, length) * self._rng.uniform(0.02, 0.1)).astype(np.float32)

    def _clip(self) -> ClipSample:
        labels = sorted(self._by_label)
        clips = self._by_label[labels[int(self._rng.integers(len(labels)))]]
        return clips[int(self._rng.integers(len(clips)))]

    def _add_digit(self, scene: Scene, time_s: float, camera_off: float, text_off: float) -> float:
        rng = self._rng
        digit = self._digits[int(rng.integers(len(self._digits)))]
        same = [d for d in self._digits if d.label == digit.label]
        spoken, visible, written = _COMBINATIONS[rng.choice(len(_COMBINATIONS), p=_CHANCES)]
        parts: list[Evidence] = []
        if spoken:
            parts.append(self._mix(scene, digit.speech, time_s + 0.6, rng.uniform(0.22, 0.8), weight=2.0))
        if visible:
            hand = same[int(rng.integers(len(same)))].hand
            begin, end = time_s + rng.uniform(0.2, 1.1), time_s + rng.uniform(1.5, 3.1)
            for moment in np.arange(begin, end, 0.5):
                if rng.random() < 0.95:
                    stamp = float(moment + camera_off)
                    scene.frames.append((stamp, corrupt_image(hand, rng) if self._shake else hand))
                    parts.append(Evidence("video", stamp, stamp, 0.4))
        if written and rng.random() < 0.95:
            text = self._sentence(digit.label)
            stamp = time_s + rng.uniform(0.1, 2.6) + text_off
            scene.texts.append((stamp, corrupt_text(text, rng) if self._shake else text))
            parts.append(Evidence("text", stamp, stamp, 1.0))
        scene.evidence.append((digit.label, parts))
        return 2.7

    def _sentence(self, label: str) -> str:
        """Return a sentence with this digit; in training, half of them named another one."""
        rng = self._rng
        if self._shake and rng.random() < 0.5:
            donor = self._digits[int(rng.integers(len(self._digits)))]
            return replace_digit(donor.text, int(donor.label), int(label), rng)
        same = [d for d in self._digits if d.label == label]
        return same[int(rng.integers(len(same)))].text

    def _add_sound(self, scene: Scene, time_s: float, text_off: float) -> float:
        rng = self._rng
        clip = self._clip()
        parts = self._mix_audible(scene, clip.sound, time_s, rng.uniform(0.28, 0.9), weight=0.7)
        if rng.random() < 0.52 and tokenize(clip.title):
            stamp = time_s + rng.uniform(0.4, 3.4) + text_off
            scene.texts.append((stamp, corrupt_text(clip.title, rng) if self._shake else clip.title))
            parts.append(Evidence("text", stamp, stamp, 1.0))
        scene.evidence.append((clip.label, parts))
        return 4.0

    def _add_out_of_distribution(self, scene: Scene, time_s: float, camera_off: float, text_off: float) -> float:
        """Add something that is no event, in one or more modalities."""
        rng = self._rng
        audible, visible, written = rng.random(3) < OOD_MODALITY_CHANCES
        if audible:
            self._mix(scene, self._out_of_distribution_sound(), time_s + rng.uniform(0, 1), rng.uniform(0.22, 0.9), weight=0.0)
        if visible:
            picture = self.out_of_distribution.picture()
            for moment in np.arange(time_s + rng.uniform(0, 1), time_s + rng.uniform(1.2, 3), 0.5):
                frame = corrupt_image(picture, rng) if self._shake else picture
                scene.frames.append((float(moment + camera_off), frame))
        if written:
            scene.texts.append((time_s + rng.uniform(0.1, 2.6) + text_off, self.out_of_distribution.sentence()))
        return 2.7

    def _out_of_distribution_sound(self) -> NDArray[np.float32]:
        return self.out_of_distribution.speech() if self._rng.random() < 0.5 else self.out_of_distribution.sound()

    def _mix_audible(
        self, scene: Scene, samples: NDArray[np.float32], time_s: float, gain: float, weight: float
    ) -> list[Evidence]:
        """Mix a recording in; return evidence for each span in which it is audible."""
        before = scene.sound.copy()
        mixed = self._mix(scene, samples, time_s, gain, weight)
        return [Evidence("audio", *span, weight) for span in find_audible_spans(before, scene.sound, mixed.begin, mixed.end)]

    def _mix(
        self, scene: Scene, samples: NDArray[np.float32], time_s: float, gain: float, weight: float
    ) -> Evidence:
        if self._shake and self._rng.random() < 0.7:  # change pace and pitch
            stretched = np.arange(0, len(samples) - 1, self._rng.uniform(0.88, 1.14))
            samples = np.interp(stretched, np.arange(len(samples)), samples).astype(np.float32)
        begin = round(time_s * RATE)
        low, high = max(begin, 0), min(begin + len(samples), len(scene.sound))
        if low < high:
            scene.sound[low:high] += gain * samples[low - begin : high - begin]
        return Evidence("audio", time_s, time_s + len(samples) / RATE, weight)

    def _drop_data(self, scene: Scene) -> None:
        rng = self._rng
        scene.received &= rng.random(SEGMENTS) > 0.015
        if rng.random() < 0.3:
            begin = rng.uniform(-4, SECONDS)
            end = begin + rng.uniform(6, 14)
            match rng.integers(3):
                case 0:
                    moments = np.arange(SEGMENTS) / 2
                    scene.received &= ~((moments >= begin) & (moments < end))
                case 1:
                    scene.frames = [f for f in scene.frames if not begin <= f[0] < end]
                case _:
                    scene.texts = [t for t in scene.texts if not begin <= t[0] < end]
        np.clip(np.round(scene.sound), -32768, 32767, out=scene.sound)
