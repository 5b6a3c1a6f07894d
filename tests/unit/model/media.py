"""Images and audio files for tests, as bytes."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from model.decode import RATE


def picture(side: int = 40, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((side, side * 2, 3), 200, np.uint8)).save(file, kind)
    return file.getvalue()


def png_that_claims(width: int, height: int) -> bytes:
    """Return a few bytes of PNG whose header claims any size."""

    def part(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", zlib.compress(bytes(1000))) + part(b"IEND", b"")


def drawn(mode: str = "RGB") -> Image.Image:
    """Return a picture of 96 x 64 whose four corners differ."""
    image = Image.radial_gradient("L").resize((96, 64)).convert(mode)
    image.paste(255, (0, 0, 30, 20))
    return image


def image_file(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def ogg_pages(file: bytes) -> list[bytes]:
    """Split an Ogg file into its pages."""
    pages, at = [], 0
    while at < len(file):
        segments = file[at + 27 : at + 27 + file[at + 26]]
        end = at + 27 + len(segments) + sum(segments)
        pages.append(file[at:end])
        at = end
    return pages


def progressive_jpeg(scans: int, side: int) -> bytes:
    """Return a grey JPEG with many scans that refine nothing, each a few bytes for all of its blocks."""
    blocks = (side // 8) ** 2

    def packed(bits: str) -> bytes:
        bits += "1" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")

    def segment(marker: int, body: bytes) -> bytes:
        return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body

    runs, left = "", blocks
    while left > 0:  # A run of 2^14 to 2^15 - 1 blocks without a coefficient.
        length = max(min(left, 32_767), 16_384)
        runs, left = runs + "0" + format(length - 16_384, "014b"), left - length
    empty = segment(0xDA, bytes([1, 1, 0, 1, 63, 0x10])) + packed(runs)
    return b"".join(
        (
            b"\xff\xd8",
            segment(0xDB, b"\0" + bytes([1] * 64)),
            segment(0xC2, struct.pack(">BHHB", 8, side, side, 1) + bytes([1, 0x11, 0])),
            segment(0xC4, b"\0" + bytes([1] + [0] * 15) + b"\0"),
            segment(0xC4, b"\x10" + bytes([1] + [0] * 15) + b"\xe0"),
            segment(0xDA, bytes([1, 1, 0, 0, 0, 1])) + packed("0" * blocks),
            segment(0xDA, bytes([1, 1, 0, 1, 63, 1])) + packed(runs),
            empty * scans,
            b"\xff\xd9",
        )
    )


def sine(rate: int, seconds: float = 1.0, hertz: float = 440.0) -> NDArray[np.float32]:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def pcm(samples: NDArray[np.float32]) -> bytes:
    return np.round(samples * 32767).astype("<i2").tobytes()


def sound_file(samples: NDArray[np.float32], rate: int, kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind)
    return file.getvalue()


def wav(body: bytes, length: int, rate: int = RATE) -> bytes:
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    return b"RIFF" + struct.pack("<I", 36 + len(body)) + b"WAVEfmt " + form + b"data" + struct.pack("<I", length) + body
