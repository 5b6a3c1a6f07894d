"""Decode payloads: images to pixels, text to strings, audio to samples at the model's rate, sensor readings to numbers.

A decoder returns `Undecodable` instead of raising: payloads come from the outside.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from PIL import Image

from model import audio_transforms
from services.contract.dead_letter import Rejected
from services.contract.flac_frames import complete_header
from services.contract.media_headers import IMAGE_TYPES, JPEG, image_size, parse_content_type, type_of
from services.contract.transcript import read_transcript


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A payload that cannot be decoded; `detail` is a sentence that never quotes the payload."""

    detail: str


class TooCostly(Undecodable):
    """A payload that takes more memory or time than any that a device has reason to send."""


# The budget of one payload. What the headers claim bounds the cost of all formats, and is checked before anything is
# decoded: a decision about the bytes alone, so that a repeated prediction is the same. Only a progressive JPEG costs more
# than its pixels: each of its scans passes over all of them (0.6 ns a pixel). The limit of CPU time is for what no header
# shows, such as a file of nothing but markers. It is cooperative, tested whenever the decoder asks for more bytes: a
# child process would cost each payload a copy and a start, to bound what the rest of the budget bounds already.
PIXELS_MAX = 4096 * 4096
SCANNED_PIXELS_MAX = 16 * PIXELS_MAX
SAMPLES_MAX = 12_000_000
CPU_S_MAX = 4.0
# For so long no clock of CPU time is asked, which is a system call; almost all payloads are decoded by then.
UNMEASURED_S = 0.1
# Smaller files cannot hold enough markers to take CPU_S_MAX.
UNBUDGETED_BYTES = 64 * 1024
# The budget of one window, in the unit of `decoding_cost` (some 30 ns).
WINDOW_COST_MAX = 4 * PIXELS_MAX

FORMATS = ("JPEG", "PNG", "WEBP")
_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
# EXIF 2.3, tag 0x0112: what turns the picture as it is stored into the picture as it was seen.
_ORIENTATION = 0x0112
_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class _OverBudgetError(Exception):
    """The CPU time of the payload is used up."""


class _CpuBudget:
    """The CPU time of this thread for one payload; once it is used up, it stays so."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._end_s: float | None = None
        self._is_used_up = False

    @property
    def is_used_up(self) -> bool:
        """Return whether the payload has taken CPU_S_MAX, counted from UNMEASURED_S on."""
        took_s = time.monotonic() - self._began_s
        if took_s >= min(UNMEASURED_S, CPU_S_MAX):
            if self._end_s is None:
                self._end_s = time.thread_time() + CPU_S_MAX
            self._is_used_up |= took_s > CPU_S_MAX and time.thread_time() > self._end_s
        return self._is_used_up


class _BudgetedFile(io.BytesIO):
    """A file that raises _OverBudgetError once the budget is used up."""

    def __init__(self, payload: bytes) -> None:
        super().__init__(payload)
        self._budget = _CpuBudget()

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as a file does."""
        if self._budget.is_used_up:
            raise _OverBudgetError
        return io.BytesIO.read(self, size)


# A JPEG is decoded at 1/2, 1/4 or 1/8 of its size while both sides have at least so many pixels: by default twice the
# encoders' 64 x 64, so that the encoders' input is that of the full size up to rounding.
JPEG_SIDE = 128


def decode_image(
    payload: bytes, pixels_max: int = PIXELS_MAX, side: int | None = None, jpeg_side: int = JPEG_SIDE
) -> NDArray[np.uint8] | Undecodable:
    """Decode a JPEG, PNG or WebP file to pixels uint8 [height, width, 3]; a large JPEG is decoded at a smaller size.

    The header is checked before any pixel is decoded. The picture is turned upright as its metadata say, which are dropped
    then. A JPEG without its end marker is decoded if all its pixels are there.

    Args:
        payload: The file.
        pixels_max: Images with more pixels are refused.
        side: Return the image resized to [side, side, 3], without a copy of its full size.
        jpeg_side: The least width and height at which a JPEG is decoded; a model that declares 64 takes half the time.
    """
    pixels = _decode_image(payload, pixels_max, side, jpeg_side)
    if type(pixels) is Undecodable and payload.startswith(_JPEG_START):
        # What follows the last pixel is not looked at. So if a bit of a pixel is missing, these two differ.
        with_zeros = _decode_image(payload + _JPEG_END, pixels_max, side, jpeg_side)
        with_ones = _decode_image(payload + b"\xfe" * 256 + _JPEG_END, pixels_max, side, jpeg_side)
        if (
            not isinstance(with_zeros, Undecodable)
            and not isinstance(with_ones, Undecodable)
            and np.array_equal(with_zeros, with_ones)
        ):
            return with_zeros
    return pixels


def _decode_image(payload: bytes, pixels_max: int, side: int | None, jpeg_side: int) -> NDArray[np.uint8] | Undecodable:
    file = io.BytesIO(payload) if len(payload) <= UNBUDGETED_BYTES else _BudgetedFile(payload)
    try:
        with Image.open(file, formats=FORMATS) as image:
            pixels = image.width * image.height
            if pixels > pixels_max:
                return TooCostly(f"{image.width} x {image.height}, at most {pixels_max} pixels")
            if image.info.get("progressive") and (scans := payload.count(_JPEG_SCAN)) * pixels > SCANNED_PIXELS_MAX:
                return TooCostly(f"{scans} scans of {pixels} pixels, at most {SCANNED_PIXELS_MAX} together")
            image.draft("RGB", (jpeg_side, jpeg_side))
            converted = image if image.mode == "RGB" else _to_rgb(image)
            if side is not None:
                converted = converted.resize((side, side), Image.Resampling.BILINEAR)
            transpose = _TO_UPRIGHT.get(_orientation(image)) if "exif" in image.info else None
            return np.asarray(converted if transpose is None else converted.transpose(transpose))
    except _OverBudgetError:
        return TooCostly(f"more than {CPU_S_MAX:g} s of CPU time")
    except Exception as error:  # noqa: BLE001 -- libraries raise errors of any kind for broken files.
        return Undecodable(f"not decodable as a picture ({type(error).__name__})")


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert to RGB; Pillow would cut 16 bits a pixel off at 255 and return white."""
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 -- as above; broken EXIF data do not spoil the picture.
        return 1
    return value if isinstance(value, int) else 1


def decoding_cost(modality: str, payload: bytes, value: Any) -> int:
    """Return what decoding a payload cost, about in pixels of PNG; a function of the payload and its decoded value.

    A JPEG is decoded at an eighth of its size or less. Audio is counted as stereo at 48 kHz.
    """
    if modality == "audio":
        return len(value) * 12 if isinstance(value, np.ndarray) else len(payload)
    if modality != "video":
        return 0
    kind = type_of(payload)
    size = image_size(kind, payload) if kind in IMAGE_TYPES else None
    if size is None:
        return len(payload)
    return size[0] * size[1] // (8 if kind == JPEG else 1)


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
# The resampling kernel grows with rate / gcd(rate, RATE): half a second at 47,999 Hz took 26 s and 6.7 GB.
RATE_DIVISOR = 25
# Beyond what any decoder of integers returns, and still far from where features overflow.
AMPLITUDE_MAX = 8.0
# Channels cancel if less than this share of the power of the loudest one is left in their mean.
CANCELLED_SHARE = 0.02


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
        budget = _CpuBudget()
        try:
            with _open_sound(payload, budget) as sound:
                rate, channels = sound.samplerate, sound.channels
                if rate > RATE_MAX or channels > CHANNELS_MAX:
                    return Undecodable(f"{rate} Hz with {channels} channels; at most {RATE_MAX} and {CHANNELS_MAX}")
                frames_max = min(rate * SECONDS_MAX, SAMPLES_MAX // channels)
                samples = sound.read(frames_max + 1, dtype="float32", always_2d=True)
        except Exception as error:  # noqa: BLE001 -- libraries raise errors of any kind for broken files.
            if not budget.is_used_up:
                return Undecodable(f"not decodable as a sound ({type(error).__name__})")
        if budget.is_used_up:
            return TooCostly(f"more than {CPU_S_MAX:g} s of CPU time")
        if len(samples) > frames_max:
            return TooCostly(f"more than {frames_max} samples of {channels} channels")
        if not np.isfinite(samples).all():
            return Undecodable("a sample is not a number")
        # Samples of float files have no limit; those of all others are within it.
        np.clip(samples, -AMPLITUDE_MAX, AMPLITUDE_MAX, out=samples)
    if rate <= 0 or len(samples) > rate * SECONDS_MAX:
        return Undecodable(f"not a sound of at most {SECONDS_MAX} s at a positive rate")
    # Adding 0.0 turns -0.0 into 0.0, as numpy's mean of one channel does.
    return resample(samples[:, 0] + 0.0 if channels == 1 else _to_mono(samples), rate)


def _to_mono(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average the channels; where they cancel, as with one microphone wired the other way round, return the loudest."""
    mean: NDArray[np.float32] = samples.mean(axis=1, dtype=np.float32)
    if not len(samples):
        return mean
    power = samples.var(axis=0)
    if mean.var() < CANCELLED_SHARE * power.max():
        return np.ascontiguousarray(samples[:, power.argmax()])
    return mean


class _SoundFile(io.BytesIO):
    """A file that seems to end once the budget is used up: libsndfile passes no exceptions on."""

    def __init__(self, payload: bytes, budget: _CpuBudget) -> None:
        super().__init__(payload)
        self._budget = budget

    def readinto(self, buffer: Any, /) -> int:
        """Read as a file does."""
        return 0 if self._budget.is_used_up else super().readinto(buffer)


def _open_sound(payload: bytes, budget: _CpuBudget) -> soundfile.SoundFile:
    complete = complete_header if payload[:4] == b"fLaC" else _complete_wav_header
    try:
        return soundfile.SoundFile(_SoundFile(complete(payload), budget))
    except soundfile.SoundFileError:
        repaired = _end_ogg(payload) if payload[:4] == b"OggS" else None
        if repaired is None:
            raise
        return soundfile.SoundFile(_SoundFile(repaired, budget))


def _end_ogg(payload: bytes) -> bytes | None:
    """Return an Ogg file that ends with a page on which a packet ends, as libsndfile needs it; None if there is none."""
    at, end, last = 0, 0, 0
    while at + 27 <= len(payload) and payload[at : at + 4] == b"OggS":
        segments = payload[at + 27 : at + 27 + payload[at + 26]]
        page_end = at + 27 + len(segments) + sum(segments)
        if page_end <= len(payload) and payload[at + 6 : at + 14] != b"\xff" * 8:
            last, end = at, page_end
        at = page_end
    if not end:
        return None
    page = bytearray(payload[last:end])
    page[5] |= 4  # The flag of the last page.
    page[22:26] = bytes(4)
    page[22:26] = _ogg_checksum(page).to_bytes(4, "little")
    return payload[:last] + bytes(page)


def _ogg_checksum(page: bytes | bytearray) -> int:
    """Return the CRC-32 of an Ogg page: polynomial 0x04C11DB7, not reflected, without inversion (RFC 3533)."""
    remainder = 0
    for byte in page:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x04C11DB7 if remainder & 0x80000000 else 0)) & 0xFFFFFFFF
    return remainder


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
    resampled: NDArray[np.float32] = audio_transforms.resample(torch.from_numpy(samples), rate, RATE).numpy()
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
