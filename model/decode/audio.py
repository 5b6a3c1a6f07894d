"""Sounds to samples: raw PCM, WAV, FLAC and Ogg, at the model's rate, one channel."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
import soundfile
import torch
import torchaudio.functional
from numpy.typing import NDArray

from model.decode.undecodable import Undecodable

RATE = 8_000
SECONDS_MAX = 60
RATE_MAX, CHANNELS_MAX = 192_000, 8
CONTAINERS = (b"RIFF", b"fLaC", b"OggS")
# torchaudio's kernel grows with rate / gcd(rate, RATE): half a second at 47,999 Hz took 26 s and 6.7 GB.
EVEN_RATE = 25


def decode_audio(payload: bytes, content_type: str) -> NDArray[np.float32] | Undecodable:
    """Samples float32 [n] in [-1, 1] at RATE; channels are averaged, other rates resampled."""
    kind, given = _read(content_type)
    if kind == "audio/pcm":
        try:
            rate, channels = int(given["rate"]), int(given.get("channels", "1"))
            samples = np.frombuffer(payload, "<i2").reshape(-1, channels).astype(np.float32)
            samples /= 32768
        except (KeyError, ValueError) as error:
            return Undecodable(f"not readable as PCM ({type(error).__name__})")
    elif payload[:4] not in CONTAINERS:
        return Undecodable("neither WAV, FLAC nor Ogg")
    else:
        try:
            with soundfile.SoundFile(io.BytesIO(_open_ended(payload))) as sound:
                rate, channels = sound.samplerate, sound.channels
                if rate > RATE_MAX or channels > CHANNELS_MAX:
                    return Undecodable(f"{rate} Hz with {channels} channels; at most {RATE_MAX} and {CHANNELS_MAX}")
                samples = sound.read(rate * SECONDS_MAX + 1, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
            return Undecodable(f"not decodable as a sound ({type(error).__name__})")
    if rate <= 0 or len(samples) > rate * SECONDS_MAX:
        return Undecodable(f"not a sound of at most {SECONDS_MAX} s at a positive rate")
    # The mean of one, as numpy has it: minus zero becomes zero.
    return resample(samples[:, 0] + 0.0 if channels == 1 else samples.mean(axis=1, dtype=np.float32), rate)


@lru_cache(256)
def _read(content_type: str) -> tuple[str, Mapping[str, str]]:
    """The kind and the parameters of a content type."""
    kind, *rest = content_type.split(";")
    pairs = (part.partition("=") for part in rest)
    return kind.strip().lower(), {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}


def resample(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Samples [n] at `rate` to RATE. Twice the rate is averaged in pairs, as the recorded streams were made."""
    if rate == RATE or not len(samples):
        return samples
    if rate == 2 * RATE:
        # The mean of two, as numpy's `mean` of pairs has it to the bit, at a fifth of the cost.
        paired: NDArray[np.float32] = samples[0 : len(samples) // 2 * 2 : 2] + samples[1::2]
        paired /= 2
        return paired
    if rate % EVEN_RATE:
        even = rate + 1000 - rate % 1000
        places = np.arange(len(samples) * even // rate) * (rate / even)
        samples = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
        rate = even
    resampled: NDArray[np.float32] = torchaudio.functional.resample(torch.from_numpy(samples), rate, RATE).numpy()
    return resampled


def _open_ended(payload: bytes) -> bytes:
    """A WAV whose writer did not know its length yet (0) said so in the way that libsndfile reads to the end."""
    if payload[:4] != b"RIFF" or payload[8:12] != b"WAVE":
        return payload
    at = 12
    while at + 8 <= len(payload) and payload[at : at + 4] != b"data":
        length = int.from_bytes(payload[at + 4 : at + 8], "little")
        at += 8 + length + (length & 1)
    if payload[at : at + 8] == b"data\0\0\0\0":
        return payload[: at + 4] + b"\xff\xff\xff\xff" + payload[at + 8 :]
    return payload
