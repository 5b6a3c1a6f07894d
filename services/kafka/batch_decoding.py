"""Decode the record batches of a fetch so that no record can stop or bloat a consumer; `install` replaces aiokafka's.

aiokafka 0.14 raises out of `getmany`, at every attempt, where a batch cannot be read or a header's name is not UTF-8, and it
unpacks a compressed batch whatever its size: 16 KB of zstd can hold a record of 500 MB. Here what cannot be read is an
`UnreadableRecord` at its offset, between the records before and after it, and a batch unpacks to at most
`UNPACKED_BYTES_MAX`. Well-formed batches are decoded by aiokafka's own extension.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import cramjam
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import decode_varint
from aiokafka.structs import ConsumerRecord, TopicPartition

from services.contract.dead_letter import Reason, Rejected, UnreadableRecord
from services.contract.kafka_record import ConsumedRecord
from services.contract.topics import RECORD_BYTES_MAX

# As much as a fetch may bring without compression. The producers' own limits on batches are far below.
UNPACKED_BYTES_MAX = 4 * RECORD_BYTES_MAX
# A header takes 2 bytes in a batch and more than 60 in memory.
HEADERS_MAX = 1_000
# Of a batch that cannot be read, each offset is reported, or one for all if there are more: a few KB may claim millions.
REPORTED_MAX = 1_000
GZIP_MEMBERS_MAX = 16
UNLIMITED = 1 << 62


class InvalidBatch(Exception):
    """A batch that cannot be read.

    Args:
        rejected: The reason.
    """

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.detail)
        self.rejected = rejected


class BatchHeader(NamedTuple):
    """The header of a batch of format 2 (KIP-98), in the order of its fields."""

    base_offset: int
    length: int
    leader_epoch: int
    format: int
    crc: int
    attributes: int
    last_offset_delta: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int


_HEADER = struct.Struct(">qiibIhiqqqhii")
_PREFIX = struct.Struct(">qi")
_ATTRIBUTES = struct.Struct(">h")
_ATTRIBUTES_AT = struct.calcsize(">qiibI")
_CODECS, _APPEND_TIME = 0x07, 0x08


class FetchedBatches:
    """The batches in the bytes of a fetch, as aiokafka's own reader of them, which also gives their bytes."""

    def __init__(self, data: bytes) -> None:
        self._batches, self._data, self._at = MemoryRecords(data), memoryview(data), 0
        self.has_next, self.next_batch = self._batches.has_next, self._batches.next_batch
        self.size_in_bytes = self._batches.size_in_bytes

    def bytes_of(self, base_offset: int) -> memoryview:
        """Return the bytes of the batch that begins at an offset. Offsets are asked for in rising order."""
        while True:
            offset, length = _PREFIX.unpack_from(self._data, self._at)
            data = self._data[self._at : self._at + _PREFIX.size + length]
            if offset == base_offset:
                return data
            self._at += len(data)


class FetchedRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one partition in a fetch: aiokafka's, with a loop that survives every batch."""

    # Positions of batches whose checksum was wrong once: they are fetched again, as the network may be at fault.
    _suspects: ClassVar[set[tuple[TopicPartition, int]]] = set()

    def _unpack_records(self) -> Iterator[ConsumedRecord]:
        """Yield the records from `next_fetch_offset` on, and move it past each of them."""
        unpacked_bytes, batches = 0, self._records
        topic, partition = self._tp.topic, self._tp.partition
        while unpacked_bytes <= UNPACKED_BYTES_MAX and batches.has_next():
            batch, whole, record_bytes_max = None, None, UNLIMITED
            try:
                batch = batches.next_batch()
                if self._check_crcs and not batch.validate_crc():
                    raise InvalidBatch(_WRONG_CHECKSUM)
                end = batch.next_offset
                if self._is_passed_over(batch):
                    self.next_fetch_offset = end
                    continue
                if batch.compression_type:
                    whole = unpack(batches.bytes_of(batch.base_offset))
                    batch = DefaultRecordBatch(whole)
                    unpacked_bytes += len(whole)
                    record_bytes_max = RECORD_BYTES_MAX
            except Exception as error:  # noqa: BLE001 - whatever aiokafka and the decompressors raise
                rejected = error.rejected if isinstance(error, InvalidBatch) else _unreadable(error)
                if rejected is _WRONG_CHECKSUM and self._is_first_failure():
                    return
                yield from self._report(batch, rejected)
                if batch is None:
                    return  # where the next one begins is not known
                continue
            try:
                # Written out in one loop: this runs for every record that is read.
                for record in batch:
                    offset, key, value, headers = record.offset, record.key, record.value, record.headers
                    if offset < self.next_fetch_offset:
                        continue
                    if offset >= end:
                        raise ValueError("a record beyond its batch")
                    self.next_fetch_offset = offset + 1
                    key_bytes, value_bytes = -1 if key is None else len(key), -1 if value is None else len(value)
                    if len(headers) > HEADERS_MAX:
                        yield UnreadableRecord(topic, partition, offset, record.timestamp, _too_many(len(headers)))
                    elif key_bytes + value_bytes > record_bytes_max:
                        rejected = _too_large(key_bytes + value_bytes)
                        yield UnreadableRecord(topic, partition, offset, record.timestamp, rejected)
                    else:
                        yield ConsumerRecord(
                            topic,
                            partition,
                            offset,
                            record.timestamp,
                            record.timestamp_type,
                            key,
                            value,
                            None,
                            key_bytes,
                            value_bytes,
                            tuple(headers),
                        )
            except Exception:  # noqa: BLE001 - whatever aiokafka raises: the batch is read again, record by record
                yield from self._one_by_one(whole or batches.bytes_of(batch.base_offset))
            self.next_fetch_offset = max(self.next_fetch_offset, end)

    def _is_first_failure(self) -> bool:
        """Return whether the batch at this position has not failed before."""
        suspect = self._tp, self.next_fetch_offset
        if suspect in self._suspects:
            self._suspects.discard(suspect)
            return False
        self._suspects.add(suspect)
        return True

    def _one_by_one(self, whole: bytes | memoryview) -> Iterator[ConsumedRecord]:
        """Yield the records of a batch in which one cannot be read by aiokafka."""
        for record in decode_records(self._tp, whole):
            if record.offset >= self.next_fetch_offset:
                self.next_fetch_offset = record.offset + 1
                yield record

    def _report(self, batch: Any, rejected: Rejected) -> Iterator[UnreadableRecord]:
        """Yield an unreadable record for each offset of a batch that is still to be read; one if they are unknown."""
        first, timestamp = self.next_fetch_offset, 0
        last = first
        if isinstance(batch, DefaultRecordBatch):
            header = BatchHeader._make(_HEADER.unpack_from(self._records.bytes_of(batch.base_offset)))
            first, timestamp = max(first, header.base_offset), header.max_timestamp
            # With a wrong checksum, a length is believed only if it stands there twice.
            if header.record_count == header.last_offset_delta + 1 or rejected is not _WRONG_CHECKSUM:
                last = header.base_offset + header.last_offset_delta
        for record in _unreadable_range(self._tp, first, max(first, last), timestamp, rejected):
            self.next_fetch_offset = record.offset + 1
            yield record

    def _is_passed_over(self, batch: Any) -> bool:
        """Return whether a batch is a transaction's marker, or of a transaction that was aborted."""
        if self._isolation_level == fetcher.READ_COMMITTED and batch.producer_id is not None:
            self._consume_aborted_up_to(batch.base_offset)
            if batch.is_control_batch and self._contains_abort_marker(batch):
                self._aborted_producers.discard(batch.producer_id)
            if batch.is_transactional and batch.producer_id in self._aborted_producers:
                return True
        return bool(batch.is_control_batch)


def install() -> None:
    """Make aiokafka's consumers of this process decode fetches with this module."""
    fetcher.MemoryRecords, fetcher.PartitionRecords = FetchedBatches, FetchedRecords


def unpack(data: memoryview) -> bytes:
    """Return a compressed batch without compression.

    Raises:
        InvalidBatch: The batch cannot be read, or unpacks to more than UNPACKED_BYTES_MAX.
        cramjam.DecompressionError, zlib.error: The compressed data are corrupt.
    """
    (attributes,) = _ATTRIBUTES.unpack_from(data, _ATTRIBUTES_AT)
    codec = attributes & _CODECS
    if codec not in _DECOMPRESS:
        raise InvalidBatch(Rejected(Reason.UNREADABLE, f"compression codec {codec} is unknown"))
    head = bytearray(data[: _HEADER.size])
    _ATTRIBUTES.pack_into(head, _ATTRIBUTES_AT, attributes & ~_CODECS)
    return bytes(head) + _DECOMPRESS[codec](data[_HEADER.size :], UNPACKED_BYTES_MAX)


def decode_records(tp: TopicPartition, whole: bytes | memoryview) -> Iterator[ConsumedRecord]:
    """Yield the records of a batch without compression; what is not UTF-8 in a header's name becomes U+FFFD.

    A record with a wrong structure is unreadable, and so are those after one whose length is wrong.
    """
    header = BatchHeader._make(_HEADER.unpack_from(whole))
    data, at, offset = bytes(whole), _HEADER.size, header.base_offset
    for _ in range(header.record_count):
        try:
            length, begin = decode_varint(data, at)
            at = begin + length
            if length < 0 or at > len(data):
                raise ValueError("a record beyond its batch")
        except (ValueError, IndexError) as error:
            last = header.base_offset + header.last_offset_delta
            yield from _unreadable_range(tp, offset, last, header.max_timestamp, _unreadable(error))
            return
        try:
            record: ConsumedRecord = _decode_record(tp, header, data[begin:at])
        except (ValueError, IndexError) as error:
            record = UnreadableRecord(tp.topic, tp.partition, offset, header.max_timestamp, _unreadable(error))
        yield record
        offset = record.offset + 1


def _decode_record(tp: TopicPartition, header: BatchHeader, data: bytes) -> ConsumedRecord:
    """Decode one record. Raises ValueError, IndexError."""
    timestamp_delta, at = decode_varint(data, 1)
    offset_delta, at = decode_varint(data, at)
    offset, timestamp = header.base_offset + offset_delta, header.first_timestamp + timestamp_delta
    if not 0 <= offset_delta <= header.last_offset_delta:
        raise ValueError("a record beyond its batch")
    if header.attributes & _APPEND_TIME:
        timestamp = header.max_timestamp
    key, at = _bytes_at(data, at)
    value, at = _bytes_at(data, at)
    count, at = decode_varint(data, at)
    if count > HEADERS_MAX:
        return UnreadableRecord(tp.topic, tp.partition, offset, timestamp, _too_many(count))
    headers = []
    for _ in range(count):
        name, at = _bytes_at(data, at)
        content, at = _bytes_at(data, at)
        headers.append(((name or b"").decode(errors="replace"), content))
    sizes = (-1 if raw is None else len(raw) for raw in (key, value))
    kind = int(bool(header.attributes & _APPEND_TIME))
    record: ConsumedRecord = ConsumerRecord(
        tp.topic, tp.partition, offset, timestamp, kind, key, value, None, *sizes, tuple(headers)
    )
    return record


def _bytes_at(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Return the bytes at a position and the position after them. Raises ValueError, IndexError."""
    length, at = decode_varint(data, at)
    if length < 0:
        return None, at
    if at + length > len(data):
        raise ValueError("a field beyond its record")
    return data[at : at + length], at + length


def _unreadable_range(
    tp: TopicPartition, first: int, last: int, timestamp: int, rejected: Rejected
) -> Iterator[UnreadableRecord]:
    if last - first >= REPORTED_MAX:
        rejected = Rejected(rejected.reason, f"offsets {first} to {last}: {rejected.detail}")
        first = last
    for offset in range(first, last + 1):
        yield UnreadableRecord(tp.topic, tp.partition, offset, timestamp, rejected)


def _unreadable(error: Exception) -> Rejected:
    return Rejected(Reason.UNREADABLE, f"the record or its batch has an invalid structure ({type(error).__name__})")


def _too_many(count: int) -> Rejected:
    return Rejected(Reason.HEADER, f"{count} headers, at most {HEADERS_MAX} are read")


def _too_large(size: int) -> Rejected:
    return Rejected(Reason.SIZE, f"{size} bytes unpacked, at most {RECORD_BYTES_MAX} are read")


_WRONG_CHECKSUM = Rejected(Reason.UNREADABLE, "the checksum of the batch is wrong")
_UNPACKS_TO_MORE = Rejected(
    Reason.SIZE, f"the compressed batch unpacks to more than {UNPACKED_BYTES_MAX} bytes: send smaller batches"
)


def _gunzip(data: memoryview, bytes_max: int) -> bytes:
    """Decompress gzip of a few members with zero bytes between and after them. Raises InvalidBatch, zlib.error."""
    parts: list[bytes] = []
    room = bytes_max
    rest = bytes(data)
    while rest:
        # What follows a member is copied, so the time would grow with the square of their number.
        if len(parts) == GZIP_MEMBERS_MAX:
            raise InvalidBatch(Rejected(Reason.UNREADABLE, f"more than {GZIP_MEMBERS_MAX} gzip members"))
        member = zlib.decompressobj(wbits=31)
        parts.append(member.decompress(rest, room + 1))
        room -= len(parts[-1])
        if room < 0:
            raise InvalidBatch(_UNPACKS_TO_MORE)
        if not member.eof:
            raise InvalidBatch(Rejected(Reason.UNREADABLE, "the gzip data end too early"))
        rest = member.unused_data.lstrip(b"\0")
    return b"".join(parts)


def _unsnappy(data: memoryview, bytes_max: int) -> bytes:
    """Decompress snappy, in the blocks of Java's library or as one. Raises InvalidBatch, cramjam.DecompressionError."""
    blocks = [data]
    if data[: len(_XERIAL)] == _XERIAL:
        blocks, at = [], _XERIAL_BLOCKS_AT
        while at < len(data):
            end = at + 4 + int.from_bytes(data[at : at + 4], "big")
            if end > len(data):
                raise InvalidBatch(Rejected(Reason.UNREADABLE, "the snappy data end too early"))
            blocks.append(data[at + 4 : end])
            at = end
    if sum(cramjam.snappy.decompress_raw_len(block) for block in blocks) > bytes_max:
        raise InvalidBatch(_UNPACKS_TO_MORE)
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)


# Magic, version 1, compatible with version 1.
_XERIAL = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)
_XERIAL_BLOCKS_AT = len(_XERIAL)


def _bounded(decompress_into: Callable[[Any, Any], int]) -> Callable[[memoryview, int], bytes | bytearray]:
    """Return a decompressor that writes into memory of a fixed size."""

    def decompress(data: memoryview, bytes_max: int) -> bytes | bytearray:
        usual = bytearray(min(8 * len(data) + 4_096, bytes_max))
        try:
            del usual[decompress_into(data, usual) :]
        except cramjam.DecompressionError as error:
            _raise_unless_too_small(error)
        else:
            return usual
        # Of a mapping only the pages in use are taken.
        with mmap.mmap(-1, bytes_max) as room, memoryview(room) as output:
            try:
                return bytes(output[: decompress_into(data, output)])
            except cramjam.DecompressionError as error:
                _raise_unless_too_small(error)
                raise InvalidBatch(_UNPACKS_TO_MORE) from None

    return decompress


def _raise_unless_too_small(error: cramjam.DecompressionError) -> None:
    # The library names this case in its text alone.
    if "whole buffer" not in str(error):
        raise error


_DECOMPRESS: dict[int, Callable[[memoryview, int], bytes | bytearray]] = {
    1: _gunzip,
    2: _unsnappy,
    3: _bounded(cramjam.lz4.decompress_into),
    4: _bounded(cramjam.zstd.decompress_into),
}
