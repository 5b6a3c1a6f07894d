"""PCM as a WAV file: what players and browsers take."""

from __future__ import annotations

import struct

from services.contract.media import sound
from services.contract.media.sound import Sound


def as_wav(content_type: str, body: bytes) -> bytes | None:
    """s16le PCM with a header before it, None for what is no PCM of an admitted kind."""
    length = sound.measure(content_type, body) if sound.parameters(content_type)[0] == sound.PCM else None
    if not isinstance(length, Sound):
        return None
    rate, channels = length.rate, length.channels
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    parts = (
        b"RIFF",
        struct.pack("<I", 36 + len(body)),
        b"WAVEfmt ",
        struct.pack("<I", 16),
        form,
        b"data",
        struct.pack("<I", len(body)),
    )
    return b"".join(parts) + body
