"""Sounds to samples: raw PCM, WAV, FLAC and Ogg, at the model's rate, one channel."""

from __future__ import annotations

import io

import numpy as np
import soundfile
import torch
import torchaudio.functional
from numpy.typing import NDArray

from model.decode.undecodable import Undecodable

RATE = 8_000
SECONDS_MAX = 60


def decode_audio(payload: bytes, content_type: str) -> NDArray[np.float32] | Undecodable:
    """Samples float32 [n] in [-1, 1] at RATE; channels are averaged, other rates resampled."""
    kind, *rest = content_type.split(";")
    given = {name.strip().lower(): value.strip() for name, _, value in (part.partition("=") for part in rest)}
    if kind.strip().lower() == "audio/pcm":
        try:
            rate, channels = int(given["rate"]), int(given.get("channels", "1"))
            samples = np.frombuffer(payload, "<i2").reshape(-1, channels).astype(np.float32) / 32768
        except (KeyError, ValueError) as error:
            return Undecodable(f"not readable as PCM ({type(error).__name__})")
    else:
        try:
            with soundfile.SoundFile(io.BytesIO(payload)) as sound:
                rate = sound.samplerate
                samples = sound.read(rate * SECONDS_MAX + 1, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
            return Undecodable(f"not decodable as a sound ({type(error).__name__})")
    if len(samples) > rate * SECONDS_MAX:
        return Undecodable(f"longer than {SECONDS_MAX} s")
    return resample(samples.mean(axis=1, dtype=np.float32), rate)


def resample(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Samples [n] at `rate` to RATE. Twice the rate is averaged in pairs, as the recorded streams were made."""
    if rate == RATE:
        return samples
    if rate == 2 * RATE:
        halved: NDArray[np.float32] = samples[: len(samples) // 2 * 2].reshape(-1, 2).mean(axis=1, dtype=np.float32)
        return halved
    resampled: NDArray[np.float32] = torchaudio.functional.resample(torch.from_numpy(samples), rate, RATE).numpy()
    return resampled
