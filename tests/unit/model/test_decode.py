"""Decoding: values inside limits, and for everything else a reason that quotes nothing of the payload."""

from __future__ import annotations

import io
import json
import struct
import zlib

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from model.decode.audio import RATE, SECONDS_MAX, decode_audio
from model.decode.image import decode_image
from model.decode.text import CHARACTERS_MAX, decode_text
from model.decode.undecodable import Undecodable

PLAIN, JSON = "text/plain; charset=utf-8", "application/json"


def picture(side: int = 40, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((side, side * 2, 3), 200, np.uint8)).save(out, kind)
    return out.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """A few bytes of PNG with any size in the header."""

    def part(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(bytes(1000))) + part(b"IEND", b"")


def sine(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def pcm(samples: NDArray[np.float32]) -> bytes:
    return np.round(samples * 32767).astype("<i2").tobytes()


def sound_file(samples: NDArray[np.float32], rate: int, kind: str) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind)
    return out.getvalue()


def wav(body: bytes, length: int, rate: int = RATE) -> bytes:
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVEfmt " + form + b"data" + struct.pack("<I", length) + body


def samples_of(payload: bytes, content_type: str) -> NDArray[np.float32]:
    found = decode_audio(payload, content_type)
    assert isinstance(found, np.ndarray), found
    assert found.dtype == np.float32
    return found


def test_text_is_read_from_plain_utf8_and_from_json() -> None:
    assert decode_text("zwölf Äpfel".encode(), PLAIN) == "zwölf Äpfel"
    assert (
        decode_text(json.dumps({"text": "seven", "final": True}).encode(), "Application/JSON; charset=utf-8") == "seven"
    )
    assert decode_text(b"", PLAIN) == ""


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b"[]",
        b'"seven"',
        b"7",
        b"{}",
        b'{"text": 7}',
        b'{"text": null}',
        b"[" * 100_000,
        b"\xff\xfe",
        b"9" * 9_999,
    ],
)
def test_json_without_a_text_is_undecodable(payload: bytes) -> None:
    assert isinstance(decode_text(payload, JSON), Undecodable)


def test_a_text_at_the_limit_is_read_and_one_beyond_is_not() -> None:
    assert decode_text(b"a" * CHARACTERS_MAX, PLAIN) == "a" * CHARACTERS_MAX
    assert isinstance(decode_text(b"a" * (CHARACTERS_MAX + 1), PLAIN), Undecodable)


def test_the_reason_never_quotes_the_payload() -> None:
    secret = b"my pin is 4711"
    told = (
        decode_text(secret + b"\xff", PLAIN),
        decode_text(secret, JSON),
        decode_image(secret),
        decode_audio(secret, "audio/wav"),
        decode_audio(secret + b"!", "audio/pcm;rate=8000"),
    )
    for refused in told:
        assert isinstance(refused, Undecodable)
        assert "4711" not in refused.detail
        assert "pin" not in refused.detail


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_pictures_of_the_three_kinds_become_pixels(kind: str) -> None:
    pixels = decode_image(picture(kind=kind))
    assert isinstance(pixels, np.ndarray)
    assert pixels.shape == (40, 80, 3)
    assert pixels.dtype == np.uint8
    assert abs(int(pixels.mean()) - 200) <= 2


def test_a_grey_picture_and_one_with_a_palette_become_three_channels() -> None:
    for mode in ("L", "P", "RGBA", "1"):
        out = io.BytesIO()
        Image.new(mode, (12, 10)).save(out, "PNG")
        pixels = decode_image(out.getvalue())
        assert isinstance(pixels, np.ndarray)
        assert pixels.shape == (10, 12, 3)


def test_a_few_bytes_that_claim_a_huge_picture_are_refused_by_their_header() -> None:
    refused = decode_image(png_that_claims(40_000, 40_000))
    assert isinstance(refused, Undecodable)
    assert "40000 x 40000" in refused.detail or "Bomb" in refused.detail


def test_the_limit_of_pixels_is_inclusive() -> None:
    assert isinstance(decode_image(picture(40), pixels_max=3_200), np.ndarray)
    assert isinstance(decode_image(picture(40), pixels_max=3_199), Undecodable)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_that_is_cut_off_is_undecodable_unless_every_pixel_is_there(kind: str) -> None:
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 80, 3), dtype=np.uint8)).save(out, kind)
    whole = out.getvalue()
    complete = decode_image(whole)
    for end in range(0, len(whole), 97):
        found = decode_image(whole[:end])
        if end < 0.9 * len(whole):
            assert isinstance(found, Undecodable), end
        elif isinstance(found, np.ndarray):
            assert (found == complete).all(), end


def test_other_kinds_of_picture_are_not_even_tried() -> None:
    for kind in ("GIF", "BMP", "TIFF"):
        assert isinstance(decode_image(picture(kind=kind)), Undecodable)


def test_raw_sound_comes_back_as_it_was_sent() -> None:
    sent = sine(RATE)
    assert samples_of(pcm(sent), "audio/pcm;rate=8000;channels=1;format=s16le") == pytest.approx(sent, abs=1e-4)


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_sound_files_become_samples(kind: str) -> None:
    found = samples_of(sound_file(sine(RATE), RATE, kind), f"audio/{kind.lower()}")
    assert len(found) == RATE
    assert float(np.sqrt(np.mean(found**2))) == pytest.approx(0.5 / np.sqrt(2), abs=0.02)


def test_two_channels_are_averaged() -> None:
    both = np.stack([np.full(100, 0.25), np.full(100, -0.25)], 1).reshape(-1).astype(np.float32)
    assert np.abs(samples_of(pcm(both), "audio/pcm;rate=8000;channels=2")).max() < 1e-4


# 47,999 and 12,345 share no large divisor with 8,000: the plain polyphase kernel of such a rate has gigabytes.
@pytest.mark.parametrize("rate", [8_001, 11_025, 12_345, 16_000, 22_050, 44_100, 47_999, 48_000])
def test_a_tone_of_any_rate_is_the_same_tone_afterwards(rate: int) -> None:
    found = samples_of(pcm(sine(rate)), f'audio/pcm; rate="{rate}"')
    assert abs(len(found) - RATE) <= 1
    wanted = sine(RATE)[: len(found)]
    inner = slice(100, len(found) - 100)
    # Twice the rate is averaged in pairs: half a sample late, by the recordings' own law.
    assert np.abs(found - wanted)[inner].max() < (0.1 if rate == 2 * RATE else 0.02)


@pytest.mark.parametrize(
    "content_type",
    [
        "audio/pcm",
        "audio/pcm;rate=",
        "audio/pcm;rate=fast",
        "audio/pcm;rate=0",
        "audio/pcm;rate=-8000",
        "audio/pcm;rate=8000;channels=0",
        "audio/pcm;rate=8000;channels=3",
    ],
)
def test_raw_sound_without_a_usable_rate_or_channels_is_undecodable(content_type: str) -> None:
    assert isinstance(decode_audio(pcm(sine(RATE, 0.1)), content_type), Undecodable)


def test_half_a_sample_too_much_is_undecodable() -> None:
    assert isinstance(decode_audio(b"\0" * 8_001, "audio/pcm;rate=8000"), Undecodable)


def test_sound_at_the_limit_of_length_is_read_and_longer_is_not() -> None:
    assert len(samples_of(bytes(2 * RATE * SECONDS_MAX), "audio/pcm;rate=8000")) == RATE * SECONDS_MAX
    assert isinstance(decode_audio(bytes(2 * RATE * SECONDS_MAX + 2), "audio/pcm;rate=8000"), Undecodable)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 16_000])
def test_a_wav_whose_writer_did_not_know_the_length_is_read_to_its_end(length: int) -> None:
    sent = sine(RATE)
    assert samples_of(wav(pcm(sent), length), "audio/wav") == pytest.approx(sent, abs=1e-4)


def test_a_header_with_an_absurd_rate_or_too_many_channels_is_refused_before_anything_is_read() -> None:
    assert isinstance(decode_audio(wav(pcm(sine(RATE)), 16_000, rate=2_000_000_000), "audio/wav"), Undecodable)
    many = np.zeros((100, 16), np.float32)
    assert isinstance(decode_audio(sound_file(many, RATE, "WAV"), "audio/wav"), Undecodable)


def test_other_kinds_of_sound_file_are_not_even_tried() -> None:
    assert isinstance(decode_audio(sound_file(sine(RATE), RATE, "AIFF"), "audio/wav"), Undecodable)


def test_no_sound_at_all_is_no_samples() -> None:
    assert len(samples_of(b"", "audio/pcm;rate=44100")) == 0


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["", "RIFF", "fLaC", "OggS", "png", "jpeg"]))
def test_no_bytes_at_all_raise(content: bytes, claim: str) -> None:
    starts = {
        "RIFF": wav(b"", 0)[:44],
        "fLaC": sound_file(sine(RATE, 0.05), RATE, "FLAC")[:60],
        "OggS": sound_file(sine(RATE, 0.05), RATE, "OGG")[:200],
        "png": picture()[:60],
        "jpeg": picture(kind="JPEG")[:300],
    }
    payload = starts.get(claim, b"") + content
    assert isinstance(decode_text(payload, JSON), str | Undecodable)
    assert isinstance(decode_text(payload, PLAIN), str | Undecodable)
    assert isinstance(decode_image(payload, pixels_max=10_000), np.ndarray | Undecodable)
    for content_type in ("audio/wav", "audio/ogg", "audio/pcm;rate=8000"):
        assert isinstance(decode_audio(payload, content_type), np.ndarray | Undecodable)
