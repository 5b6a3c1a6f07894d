"""The number of samples of a FLAC file whose header does not say it, as of a writer to a pipe (RFC 9639)."""

from __future__ import annotations

# Blocks of metadata, and places that begin like a frame, that are looked at.
PARTS_MAX = 1_024
# Frames or samples before a frame, of a chunk that can be admitted.
NUMBER_MAX = 1 << 30


def complete_header(body: bytes) -> bytes:
    """Return a FLAC file whose header says how many samples there are; decoders need it."""
    bits = int.from_bytes(body[18:26], "big")
    if bits & 0xFFFFFFFFF or len(body) < 26:
        return body
    return body[:18] + (bits | count_samples(body)).to_bytes(8, "big") + body[26:]


def count_samples(body: bytes) -> int:
    """Return the number of samples up to the end of the last frame, by its header; 0 if there is no frame."""
    at = 4
    for _ in range(PARTS_MAX):
        is_last, length = body[at : at + 1] >= b"\x80", int.from_bytes(body[at + 1 : at + 4], "big")
        at += 4 + length
        if is_last:
            break
    first = _frame(body, at)
    if first is None:
        return 0
    is_variable = body[at + 1] & 1
    # The same two bytes begin every frame. Four bits of the rate and a checksum tell a frame from such bytes in one.
    begin, rate, last = body[at : at + 2], body[at + 2] & 15, len(body)
    for _ in range(PARTS_MAX):
        last = body.rfind(begin, at, last + 1)
        frame = None if last < 0 else _frame(body, last)
        if frame is not None and body[last + 2] & 15 == rate and frame[0] <= NUMBER_MAX:
            number, block = frame
            return (number if is_variable else number * first[1]) + block
        if last <= at:
            break
    return 0


def _frame(body: bytes, at: int) -> tuple[int, int] | None:
    """Return the number of a FLAC frame (or of its first sample) and its samples; None if no frame begins here."""
    head = body[at : at + 16]
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8:
        return None
    # The number is coded as UTF-8 codes a character, in up to seven bytes.
    ones = next((n for n in range(8) if not head[4] & 0x80 >> n), 8)
    more = max(ones - 1, 0)
    if ones in (1, 8) or len(head) < 5 + more:
        return None
    number = head[4] & (0x7F >> ones)
    for byte in head[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    size, rate = head[2] >> 4, head[2] & 15
    end = 5 + more
    size_bytes = {6: 1, 7: 2}.get(size, 0)
    coded = int.from_bytes(head[end : end + size_bytes], "big") + 1
    end += size_bytes + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    block = coded if size_bytes else 192 if size == 1 else 576 << (size - 2) if 2 <= size <= 5 else 256 << (size & 7)
    if size == 0 or rate == 15 or end >= len(head) or head[end] != _crc8(head[:end]):
        return None
    return number, block


def _crc8(head: bytes) -> int:
    """Return the checksum of a FLAC frame header: polynomial 0x07, not reflected (RFC 9639)."""
    remainder = 0
    for byte in head:
        remainder ^= byte
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x07 if remainder & 0x80 else 0)) & 0xFF
    return remainder
