"""Raw PCM as a WAV file, for players that know no `audio/pcm`. Pure."""

from __future__ import annotations

import struct


def wav(pcm: bytes, rate: int, channels: int) -> bytes:
    """16-bit little-endian samples with the 44 bytes that say what they are (RIFF WAVE, format 1)."""
    align = 2 * channels
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, channels, rate, rate * align, align, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + len(pcm), b"WAVE") + form + struct.pack("<4sI", b"data", len(pcm)) + pcm
