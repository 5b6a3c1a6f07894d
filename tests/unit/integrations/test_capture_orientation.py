"""Films of phones that were held in any way are sent upright."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from services.integrations.capture.decoder import CaptureDecoder
from services.integrations.capture.source_address import media_file

ONE = 1 << 16
# The display matrix (a, b, c, d) that turns a picture back after it was stored like this.
STORED = {
    "upright": (None, (ONE, 0, 0, ONE)),
    "turned left": (Image.Transpose.ROTATE_90, (0, ONE, -ONE, 0)),
    "upside down": (Image.Transpose.ROTATE_180, (-ONE, 0, 0, -ONE)),
    "turned right": (Image.Transpose.ROTATE_270, (0, -ONE, ONE, 0)),
    "mirrored": (Image.Transpose.FLIP_LEFT_RIGHT, (-ONE, 0, 0, ONE)),
    "transposed": (Image.Transpose.TRANSPOSE, (0, ONE, ONE, 0)),
}


@pytest.mark.parametrize("stored", STORED)
def test_frames_of_a_film_are_turned_as_its_display_matrix_says(stored: str, tmp_path: Path) -> None:
    transpose, (a, b, c, d) = STORED[stored]
    quarters = np.zeros((64, 96, 3), np.uint8)
    quarters[:32, :48], quarters[:32, 48:], quarters[32:, :48] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    upright = Image.fromarray(quarters)
    seen = upright if transpose is None else upright.transpose(transpose)
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as out:
        frames = out.add_stream("mpeg4", rate=2)
        frames.width, frames.height, frames.pix_fmt = seen.width, seen.height, "yuv420p"
        for packet in (*frames.encode(av.VideoFrame.from_ndarray(np.asarray(seen))), *frames.encode(None)):
            out.mux(packet)
    film = bytearray(path.read_bytes())
    struct.pack_into(">5i", film, film.index(b"tkhd") + 44, a, b, 0, c, d)
    path.write_bytes(film)

    source = media_file(path)
    assert source is not None
    decoder = CaptureDecoder(source, 2, 10_000)
    (item,) = decoder.items()
    decoder.close()
    sent = np.asarray(Image.open(io.BytesIO(item.body))).astype(int)
    assert sent.shape == quarters.shape
    assert np.abs(sent - quarters).mean() < 20
