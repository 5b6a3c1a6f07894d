"""Record batches as any client may write them, byte by byte: none of the limits of a library applies."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import cramjam
from aiokafka.record.util import calc_crc32c

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
APPEND_TIME = 8
RawHeaders = Sequence[tuple[bytes, bytes | None]]


def varint(number: int) -> bytes:
    """Encode a number as Kafka's zigzag varint."""
    number = ((number << 1) ^ (number >> 63)) & ((1 << 64) - 1)
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


def nullable(content: bytes | None) -> bytes:
    """Encode nullable bytes with their length."""
    return varint(-1) if content is None else varint(len(content)) + content


def encode_record(key: bytes | None, value: bytes | None, headers: RawHeaders = (), offset_delta: int = 0) -> bytes:
    """Encode a record."""
    body = b"\0" + varint(0) + varint(offset_delta) + nullable(key) + nullable(value) + varint(len(headers))
    body += b"".join(nullable(name) + nullable(content) for name, content in headers)
    return varint(len(body)) + body


def encode_batch(records: bytes, count: int = 1, attributes: int = 0, base_offset: int = 0, time_ms: int = 1) -> bytes:
    """Encode a batch; `records` are compressed already if the attributes say so."""
    fields = (attributes, count - 1, time_ms, time_ms, -1, -1, -1, count)
    checked = struct.pack(">hiqqqhii", *fields) + records
    return struct.pack(">qiibI", base_offset, 9 + len(checked), 0, 2, calc_crc32c(checked)) + checked


def compress(codec: int, parts: Sequence[bytes]) -> bytes:
    """Compress the concatenation of these parts without holding it."""
    if codec == GZIP:
        gzip = zlib.compressobj(9, zlib.DEFLATED, 31)
        return b"".join([*map(gzip.compress, parts), gzip.flush()])
    if codec == SNAPPY:
        blocks = (bytes(cramjam.snappy.compress_raw(part)) for part in parts)
        head = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)
        return head + b"".join(struct.pack(">i", len(block)) + block for block in blocks)
    compressor = cramjam.zstd.Compressor() if codec == ZSTD else cramjam.lz4.Compressor(block_linked=False)
    for part in parts:
        compressor.compress(part)
    return bytes(compressor.finish())


def encode_bomb(codec: int, key: bytes, megabytes: int, headers: RawHeaders = ()) -> bytes:
    """Encode a batch of one record whose value is that many MiB of zeros."""
    size, block = megabytes << 20, bytes(1 << 20)
    head = b"\0" + varint(0) + varint(0) + nullable(key) + varint(size)
    tail = varint(len(headers)) + b"".join(nullable(name) + nullable(content) for name, content in headers)
    parts = [varint(len(head) + size + len(tail)) + head, *[block] * megabytes, tail]
    return encode_batch(compress(codec, parts), 1, codec)
