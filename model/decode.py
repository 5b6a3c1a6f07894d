"""Decode payloads: images to pixels, text to strings, audio to samples at the model's rate, sensor readings to numbers.

A decoder returns `Undecodable` instead of raising: payloads come from the outside.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
import torch
import torchaudio.functional
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from services.contract.dead_letter import Rejected
from services.contract.media_headers import parse_content_type
from services.contract.transcript import read_transcript


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A payload that cannot be decoded; `detail` is a sentence that never quotes the payload."""

    detail: str


FORMATS = ("JPEG", "PNG", "WEBP")
PIXELS_MAX = 4096 * 4096


def decode_image(
    payload: bytes, pixels_max: int = PIXELS_MAX, side: int | None = None
) -> NDArray[np.uint8] | Undecodable:
    """Decode a JPEG, PNG or WebP file to pixels uint8 [height, width, 3]; a large JPEG is decoded at a smaller size.

    The header is checked before any pixel is decoded. Metadata is dropped.

    Args:
        payload: The file.
        pixels_max: Images with more pixels are refused.
        side: Return the image resized to [side, side, 3], without a copy of its full size.
    """
    try:
        with Image.open(io.BytesIO(payload), formats=FORMATS) as image:
            if image.width * image.height > pixels_max:
                return Undecodable(f"{image.width} x {image.height}, at most {pixels_max} pixels")
            # A JPEG is decoded at 1/2, 1/4 or 1/8 of its size while that is at least twice the encoders' 64 x 64: half the
            # time for a frame of 640 x 360, and the encoders' input is equal up to rounding.
            image.draft("RGB", (128, 128))
            converted = image if image.mode == "RGB" else image.convert("RGB")
            return np.asarray(converted if side is None else converted.resize((side, side), Image.Resampling.BILINEAR))
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as e:
        return Undecodable(f"not decodable as a picture ({type(e).__name__})")


CHARACTERS_MAX = 8_192


def decode_text(payload: bytes, content_type: str) -> str | Undecodable:
    """Decode `text/plain`, or `application/json` of the form {"text": …}."""
    text = read_transcript(content_type, payload)
    return Undecodable(text.detail) if isinstance(text, Rejected) else check_text(text)


def check_text(value: Any) -> str | Undecodable:
    """Return the value if it is a string of at most CHARACTERS_MAX characters."""
    if not isinstance(value, str) or len(value) > CHARACTERS_MAX:
        return Undecodable(f"not a text of at most {CHARACTERS_MAX} characters")
    return value


RATE = 8_000
SECONDS_MAX = 60
RATE_MAX, CHANNELS_MAX = 192_000, 8
CONTAINERS = (b"RIFF", b"fLaC", b"OggS")
# torchaudio's kernel grows with rate / gcd(rate, RATE): half a second at 47,999 Hz took 26 s and 6.7 GB.
RATE_DIVISOR = 25


def decode_audio(payload: bytes, content_type: str) -> NDArray[np.float32] | Undecodable:
    """Decode PCM, WAV, FLAC or Ogg to samples float32 [n] in [-1, 1] at RATE; channels are averaged, other rates resampled."""
    kind, parameters = parse_content_type(content_type)
    if kind == "audio/pcm":
        try:
            rate, channels = int(parameters["rate"]), int(parameters.get("channels", "1"))
            samples = np.frombuffer(payload, "<i2").reshape(-1, channels).astype(np.float32)
            samples /= 32768
        except (KeyError, ValueError) as error:
            return Undecodable(f"not readable as PCM ({type(error).__name__})")
    elif payload[:4] not in CONTAINERS:
        return Undecodable("neither WAV, FLAC nor Ogg")
    else:
        try:
            with soundfile.SoundFile(io.BytesIO(_complete_wav_header(payload))) as sound:
                rate, channels = sound.samplerate, sound.channels
                if rate > RATE_MAX or channels > CHANNELS_MAX:
                    return Undecodable(f"{rate} Hz with {channels} channels; at most {RATE_MAX} and {CHANNELS_MAX}")
                samples = sound.read(rate * SECONDS_MAX + 1, dtype="float32", always_2d=True)
        except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
            return Undecodable(f"not decodable as a sound ({type(error).__name__})")
    if rate <= 0 or len(samples) > rate * SECONDS_MAX:
        return Undecodable(f"not a sound of at most {SECONDS_MAX} s at a positive rate")
    # Adding 0.0 turns -0.0 into 0.0, as numpy's mean of one channel does.
    return resample(samples[:, 0] + 0.0 if channels == 1 else samples.mean(axis=1, dtype=np.float32), rate)


def resample(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Resample float32 [n] from `rate` to RATE; twice the rate is averaged in pairs, as the recorded streams were made."""
    if rate == RATE or not len(samples):
        return samples
    if rate == 2 * RATE:
        # Bit for bit numpy's `mean` of pairs, at a fifth of its cost.
        paired: NDArray[np.float32] = samples[0 : len(samples) // 2 * 2 : 2] + samples[1::2]
        paired /= 2
        return paired
    if rate % RATE_DIVISOR:
        even = rate + 1000 - rate % 1000
        places = np.arange(len(samples) * even // rate) * (rate / even)
        samples = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
        rate = even
    resampled: NDArray[np.float32] = torchaudio.functional.resample(torch.from_numpy(samples), rate, RATE).numpy()
    return resampled


def _complete_wav_header(payload: bytes) -> bytes:
    """Replace a data length of 0, from a writer that did not know it, by the value that makes libsndfile read to the end."""
    if payload[:4] != b"RIFF" or payload[8:12] != b"WAVE":
        return payload
    offset = 12
    while offset + 8 <= len(payload) and payload[offset : offset + 4] != b"data":
        length = int.from_bytes(payload[offset + 4 : offset + 8], "little")
        offset += 8 + length + (length & 1)
    if payload[offset : offset + 8] == b"data\0\0\0\0":
        return payload[: offset + 4] + b"\xff\xff\xff\xff" + payload[offset + 8 :]
    return payload


READINGS = ("temperature", "motion", "door")
DOOR_VALUES: Mapping[Any, float] = {"open": 1.0, "closed": 0.0, True: 1.0, False: 0.0}
# Temperatures are scaled to (t - MIDDLE_C) / SPAN_C, in degrees Celsius.
MIDDLE_C, SPAN_C, CELSIUS_MAX = 20.0, 10.0, 200.0
BYTES_MAX = 4_096


def decode_sensor(payload: bytes, content_type: str) -> NDArray[np.float32] | Undecodable:
    """Decode a JSON object of sensor readings, such as {"temperature": 21.5, "motion": true, "door": "open"}.

    Returns:
        float32 [2 * readings]: scaled values, then 1 for each reading that is present. Unknown readings are ignored.
    """
    if len(payload) > BYTES_MAX:
        return Undecodable(f"more than {BYTES_MAX} bytes of readings")
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as error:
        return Undecodable(f"not readable as JSON ({type(error).__name__})")
    return encode_readings(value)


def encode_readings(value: Any) -> NDArray[np.float32] | Undecodable:
    """Encode sensor readings that are parsed already, as in a manifest row; see `decode_sensor`."""
    if not isinstance(value, dict):
        return Undecodable("readings are a JSON object")
    encoded = {name: _encode_reading(name, value[name]) for name in READINGS if value.get(name) is not None}
    if not encoded:
        return Undecodable(f"none of the readings {', '.join(READINGS)}")
    invalid = [name for name, value in encoded.items() if value is None]
    if invalid:
        return Undecodable(f"{invalid[0]} is no such reading")
    values = [encoded.get(name) or 0.0 for name in READINGS]
    return np.array([*values, *(float(name in encoded) for name in READINGS)], np.float32)


def _encode_reading(name: str, value: Any) -> float | None:
    if name == "temperature":
        number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= CELSIUS_MAX
        return (value - MIDDLE_C) / SPAN_C if number else None
    if name == "motion":
        return float(value) if isinstance(value, bool) else None
    return DOOR_VALUES.get(value) if isinstance(value, str | bool) else None
