"""Decoding of text and images within limits; everything else gives a reason that does not quote the payload."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from model import decode
from model.decode import (
    CHARACTERS_MAX,
    JPEG_SIDE,
    RATE,
    TooCostly,
    Undecodable,
    decode_audio,
    decode_image,
    decode_text,
)
from tests.unit.model.media import drawn, image_file, picture, png_that_claims, progressive_jpeg, sine, sound_file, wav

PLAIN, JSON = "text/plain; charset=utf-8", "application/json"


def pixels_of(payload: bytes, side: int | None = None, jpeg_side: int = JPEG_SIDE) -> NDArray[np.uint8]:
    pixels = decode_image(payload, side=side, jpeg_side=jpeg_side)
    assert isinstance(pixels, np.ndarray), pixels
    return pixels


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


def test_text_of_people_is_read_leniently() -> None:
    assert decode_text(b'{"text":"soon \\ud83d","p":NaN}', JSON) == "soon \ufffd"
    assert decode_text(b'\xef\xbb\xbf{"text":"seven"}', JSON) == "seven"
    assert decode_text("seven".encode("utf-16"), PLAIN) == "seven"


def test_a_text_at_the_limit_is_read_and_one_beyond_is_not() -> None:
    assert decode_text(b"a" * CHARACTERS_MAX, PLAIN) == "a" * CHARACTERS_MAX
    assert isinstance(decode_text(b"a" * (CHARACTERS_MAX + 1), PLAIN), Undecodable)


def test_the_reason_never_quotes_the_payload() -> None:
    secret = b"my pin is 4711"
    decoded = (
        decode_text(secret + b"\xff", PLAIN),
        decode_text(secret, JSON),
        decode_image(secret),
        decode_audio(secret, "audio/wav"),
        decode_audio(secret + b"!", "audio/pcm;rate=8000"),
    )
    for refused in decoded:
        assert isinstance(refused, Undecodable)
        assert "4711" not in refused.detail
        assert "pin" not in refused.detail


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_jpeg_png_and_webp_are_decoded_to_pixels(kind: str) -> None:
    pixels = decode_image(picture(kind=kind))
    assert isinstance(pixels, np.ndarray)
    assert pixels.shape == (40, 80, 3)
    assert pixels.dtype == np.uint8
    assert abs(int(pixels.mean()) - 200) <= 2


def test_grey_and_palette_images_are_decoded_to_three_channels() -> None:
    for mode in ("L", "P", "RGBA", "1"):
        file = io.BytesIO()
        Image.new(mode, (12, 10)).save(file, "PNG")
        pixels = decode_image(file.getvalue())
        assert isinstance(pixels, np.ndarray)
        assert pixels.shape == (10, 12, 3)


def test_a_large_jpeg_decoded_at_reduced_size_gives_nearly_the_same_encoder_input() -> None:
    drawn = Image.radial_gradient("L").resize((640, 360)).convert("RGB")
    drawn.paste((200, 40, 40), (200, 120, 420, 300))
    file = io.BytesIO()
    drawn.save(file, "JPEG", quality=90)
    full = Image.open(file).resize((64, 64), Image.Resampling.BILINEAR)
    pixels = decode_image(file.getvalue())
    reduced = decode_image(file.getvalue(), side=64)
    assert isinstance(pixels, np.ndarray)
    assert isinstance(reduced, np.ndarray)
    assert pixels.shape == (180, 320, 3)
    assert np.abs(np.asarray(full).astype(int) - reduced).max() <= 4


def test_a_header_that_claims_a_huge_image_is_refused() -> None:
    refused = decode_image(png_that_claims(40_000, 40_000))
    assert isinstance(refused, Undecodable)
    assert "40000 x 40000" in refused.detail or "Bomb" in refused.detail


def test_the_pixel_limit_is_inclusive() -> None:
    assert isinstance(decode_image(picture(40), pixels_max=3_200), np.ndarray)
    assert isinstance(decode_image(picture(40), pixels_max=3_199), Undecodable)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_upright_as_its_metadata_say(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    by_kind: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "PNG": {}, "WEBP": {"lossless": True}}
    options = by_kind[kind]
    stored = pixels_of(image_file(drawn(), kind, **options))
    turned = pixels_of(image_file(drawn(), kind, exif=exif, **options))
    steps = {1: "", 2: "m", 3: "rr", 4: "rrm", 5: "mr", 6: "rrr", 7: "mrrr", 8: "r"}[orientation]
    for step in steps:
        stored = np.fliplr(stored) if step == "m" else np.rot90(stored)
    assert np.array_equal(turned, stored)


def test_broken_metadata_leave_the_image_as_it_is() -> None:
    whole = image_file(drawn())
    broken = whole[:2] + b"\xff\xe1\0\x10Exif\0\0MM\0*\xff\xff\xff\xff" + whole[2:]
    assert np.array_equal(pixels_of(broken), pixels_of(whole))


def test_sixteen_bits_a_pixel_are_decoded_like_eight() -> None:
    grey = drawn("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    assert np.array_equal(pixels_of(image_file(deep, "PNG")), pixels_of(image_file(grey, "PNG")))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0, "quality": 100}])
def test_a_jpeg_without_its_end_marker_is_decoded_if_all_its_data_are_there(options: dict[str, Any]) -> None:
    whole = image_file(drawn(), **options)
    assert whole.endswith(b"\xff\xd9")
    assert np.array_equal(pixels_of(whole[:-2], 64), pixels_of(whole, 64))
    assert isinstance(decode_image(whole[:-5]), Undecodable)


def test_a_progressive_jpeg_with_thousands_of_scans_is_too_costly() -> None:
    assert isinstance(decode_image(progressive_jpeg(20, 512)), np.ndarray)
    assert isinstance(decode_image(progressive_jpeg(4_000, 4_096)), TooCostly)


def test_what_no_header_shows_is_limited_by_cpu_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "CPU_S_MAX", 0.0)
    monkeypatch.setattr(decode, "UNBUDGETED_BYTES", 0)
    assert isinstance(decode_image(picture(kind="JPEG")), TooCostly)


@pytest.mark.parametrize("size", [(640, 360), (1280, 720), (130, 65), (64, 64), (63, 500)])
def test_a_smaller_jpeg_side_decodes_fewer_pixels_and_shows_the_same(size: tuple[int, int]) -> None:
    frame = image_file(drawn().resize(size, Image.Resampling.BICUBIC), quality=90)
    full, small = (pixels_of(frame, jpeg_side=side) for side in (4_096, 64))
    assert min(small.shape[:2]) >= min(64, *size)
    if min(size) >= 128:
        assert small.size * 4 <= full.size
    expected, shown = (pixels_of(frame, 64, side) for side in (4_096, 64))
    assert np.abs(expected.astype(int) - shown.astype(int)).mean() < 3


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_truncated_image_is_undecodable_unless_every_pixel_is_present(kind: str) -> None:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 80, 3), dtype=np.uint8)).save(file, kind)
    full = file.getvalue()
    complete = decode_image(full)
    for end in range(0, len(full), 97):
        decoded = decode_image(full[:end])
        if end < 0.9 * len(full):
            assert isinstance(decoded, Undecodable), end
        elif isinstance(decoded, np.ndarray):
            assert (decoded == complete).all(), end


def test_other_image_formats_are_refused() -> None:
    for kind in ("GIF", "BMP", "TIFF"):
        assert isinstance(decode_image(picture(kind=kind)), Undecodable)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["", "RIFF", "fLaC", "OggS", "png", "jpeg"]))
def test_decoders_never_raise(content: bytes, claim: str) -> None:
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
