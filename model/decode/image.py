"""Pictures to pixels: JPEG, PNG and WebP, never more pixels than allowed."""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from model.decode.undecodable import Undecodable

FORMATS = ("JPEG", "PNG", "WEBP")
PIXELS_MAX = 4096 * 4096


def decode_image(
    payload: bytes, pixels_max: int = PIXELS_MAX, side: int | None = None
) -> NDArray[np.uint8] | Undecodable:
    """Pixels uint8 [height, width, 3], of a large JPEG fewer than it has.

    The header is read before anything is decoded, metadata is dropped.
    side: the picture as `resized` makes it, [side, side, 3], without a copy of all of its pixels on the way.
    """
    try:
        with Image.open(io.BytesIO(payload), formats=FORMATS) as image:
            if image.width * image.height > pixels_max:
                return Undecodable(f"{image.width} x {image.height}, at most {pixels_max} pixels")
            # A JPEG is decoded at a half, a quarter or an eighth of its size where that is still twice the 64 x 64 that
            # encoders look at: half the time for a frame of 640 x 360, and what they see is the same but for rounding.
            image.draft("RGB", (128, 128))
            found = image if image.mode == "RGB" else image.convert("RGB")
            return np.asarray(found if side is None else found.resize((side, side), Image.Resampling.BILINEAR))
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as e:
        return Undecodable(f"not decodable as a picture ({type(e).__name__})")
