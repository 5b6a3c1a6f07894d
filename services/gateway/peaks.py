"""The outline of a sound: how loud it is at each moment, small enough to send along. Pure."""

from __future__ import annotations

import numpy as np

from services.contract.media.sound import Sound

PER_SECOND = 40
PEAKS_MAX = 1_200


def peaks(sound: Sound, body: bytes) -> list[int] | None:
    """The loudest sample (0-255) of each 25 ms of PCM or WAV; None for sounds that must be decoded first."""
    if sound.pcm is None:
        return None
    begin, end = sound.pcm
    samples = np.abs(np.frombuffer(body[begin:end], "<i2").astype(np.int32))
    if not samples.size:
        return []
    step = max(sound.rate * sound.channels // PER_SECOND, 1)
    starts = np.arange(0, samples.size, step)[:PEAKS_MAX]
    loudest: list[int] = (np.maximum.reduceat(samples, starts) >> 7).clip(0, 255).tolist()
    return loudest
