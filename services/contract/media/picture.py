"""Width and height of a picture from its header, and whether the bytes are of the type that they claim."""

from __future__ import annotations

import struct

JPEG, PNG, WEBP = "image/jpeg", "image/png", "image/webp"
TYPES = (JPEG, PNG, WEBP)
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_STANDALONE = {0x01, *range(0xD0, 0xD8)}


def size(content_type: str, body: bytes) -> tuple[int, int] | None:
    """(width, height) in pixels; None where the bytes are not a picture of this type (ISO 10918-1, PNG, RFC 9649)."""
    found = {JPEG: _jpeg, PNG: _png, WEBP: _webp}[content_type](body)
    return found if found and found[0] > 0 and found[1] > 0 else None


def _jpeg(body: bytes) -> tuple[int, int] | None:
    if body[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 4 <= len(body):
        if body[at] != 0xFF:
            return None
        marker = body[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _STANDALONE:
            at += 2
        elif marker in _START_OF_FRAME:
            if at + 9 > len(body):
                return None
            height, width = struct.unpack_from(">HH", body, at + 5)
            return width, height
        else:
            at += 2 + int.from_bytes(body[at + 2 : at + 4], "big")
    return None


def _png(body: bytes) -> tuple[int, int] | None:
    if len(body) < 24 or body[:8] != b"\x89PNG\r\n\x1a\n" or body[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", body, 16)
    return width, height


def _webp(body: bytes) -> tuple[int, int] | None:
    if len(body) < 30 or body[:4] != b"RIFF" or body[8:12] != b"WEBP":
        return None
    kind = body[12:16]
    if kind == b"VP8 " and body[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", body, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and body[20] == 0x2F:
        bits = int.from_bytes(body[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(body[24:27], "little") + 1, int.from_bytes(body[27:30], "little") + 1
    return None
