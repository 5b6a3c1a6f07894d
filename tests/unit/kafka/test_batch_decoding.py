"""Decoding of fetches: what cannot be read is reported by its position, and the records around it are read."""

from __future__ import annotations

import random
import resource
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.structs import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contract.dead_letter import Reason, UnreadableRecord
from services.contract.kafka_record import ConsumedRecord
from services.contract.topics import RECORD_BYTES_MAX
from services.kafka.batch_decoding import (
    GZIP_MEMBERS_MAX,
    HEADERS_MAX,
    REPORTED_MAX,
    UNPACKED_BYTES_MAX,
    FetchedBatches,
    FetchedRecords,
)
from tests.unit.kafka.record_batches import (
    APPEND_TIME,
    GZIP,
    LZ4,
    NONE,
    SNAPPY,
    ZSTD,
    compress,
    encode_batch,
    encode_bomb,
    encode_record,
    varint,
)

TP = TopicPartition("braid.media.text.v1", 2)
CODECS = [NONE, GZIP, SNAPPY, LZ4, ZSTD]


def fetched(data: bytes, since: int = 0) -> FetchedRecords:
    return FetchedRecords(TP, FetchedBatches(data), None, since, None, None, True, 0)


def read(data: bytes, since: int = 0) -> list[ConsumedRecord]:
    """Read as a consumer does: what is left is fetched again from the position on."""
    records: list[ConsumedRecord] = []
    while rest := from_offset(data, since):
        part = fetched(rest, since)
        records += list(part)
        since = part.next_fetch_offset
    return records


def from_offset(data: bytes, since: int) -> bytes:
    """Return the batches from the one with an offset on, as a broker does."""
    at = 0
    while at < len(data):
        base, length = struct.unpack_from(">qi", data, at)
        (delta,) = struct.unpack_from(">i", data, at + 23)
        if base + delta >= since:
            break
        at += 12 + length
    return data[at:]


def good(offset: int, count: int = 1) -> bytes:
    records = b"".join(encode_record(b"k", b"v", [(b"h", b"1")], n) for n in range(count))
    return encode_batch(records, count, base_offset=offset)


def packed(codec: int, records: bytes, count: int, base_offset: int = 0) -> bytes:
    return encode_batch(compress(codec, [records]) if codec else records, count, codec, base_offset)


def unreadable(records: Sequence[ConsumedRecord]) -> dict[int, Reason]:
    return {r.offset: r.rejected.reason for r in records if isinstance(r, UnreadableRecord)}


@pytest.mark.parametrize("codec", CODECS)
def test_well_formed_batches_are_read(codec: int) -> None:
    records = read(packed(codec, b"".join(encode_record(b"k%d" % n, b"v", [(b"h", None)], n) for n in range(5)), 5))
    assert [(r.offset, r.key, r.value) for r in records] == [(n, b"k%d" % n, b"v") for n in range(5)]
    assert [dict(r.headers) for r in records] == [{"h": None}] * 5


@pytest.mark.parametrize("codec", CODECS)
def test_reading_begins_at_the_position_within_a_batch(codec: int) -> None:
    data = packed(codec, b"".join(encode_record(None, b"%d" % n, (), n) for n in range(5)), 5, base_offset=10)
    assert [r.value for r in read(data, since=13)] == [b"3", b"4"]


@pytest.mark.parametrize("codec", CODECS)
def test_a_header_name_that_is_not_utf8_is_replaced_and_its_neighbours_are_read(codec: int) -> None:
    names = [b"ce_id", b"\xff\xfe", b"ce_id"]
    data = packed(codec, b"".join(encode_record(b"k", b"v", [(name, b"1")], n) for n, name in enumerate(names)), 3)
    assert [(r.offset, r.headers[0][0]) for r in read(data)] == [(0, "ce_id"), (1, "\ufffd\ufffd"), (2, "ce_id")]


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_batch_that_unpacks_to_too_much_is_unreadable_in_bounded_memory(codec: int) -> None:
    megabytes = 200
    bomb = encode_bomb(codec, b"evil", megabytes)
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    records = read(good(0) + encode_at(bomb, 1) + good(2))
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    assert unreadable(records) == {1: Reason.SIZE}
    assert [r.value for r in records] == [b"v", None, b"v"]
    assert grown_kb < megabytes * 1024 / 2


def encode_at(batch: bytes, offset: int) -> bytes:
    return struct.pack(">q", offset) + batch[8:]


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_batch_at_the_limit_is_read_and_one_byte_more_is_not(codec: int) -> None:
    def batch(more: int) -> bytes:
        overhead = len(encode_record(None, b"", (), 0)) + 3 + 3
        size = (UNPACKED_BYTES_MAX - 5 * overhead) // 5
        records = b"".join(encode_record(None, bytes(size), (), n) for n in range(5))
        last = UNPACKED_BYTES_MAX - len(records) + size + more
        records = b"".join(encode_record(None, bytes(size if n < 4 else last), (), n) for n in range(5))
        assert len(records) == UNPACKED_BYTES_MAX + more
        return packed(codec, records, 5)

    assert not unreadable(read(batch(0)))
    assert set(unreadable(read(batch(1))).values()) == {Reason.SIZE}


def test_a_compressed_record_larger_than_the_topic_takes_is_unreadable_and_its_neighbours_are_read() -> None:
    sizes = [10, RECORD_BYTES_MAX + 1, 20]
    data = packed(ZSTD, b"".join(encode_record(b"k", bytes(size), (), n) for n, size in enumerate(sizes)), 3)
    records = read(data)
    assert unreadable(records) == {1: Reason.SIZE}
    assert [len(r.value or b"") for r in records] == [10, 0, 20]


def test_many_small_bombs_are_given_out_in_parts() -> None:
    one = packed(ZSTD, b"".join(encode_record(None, bytes(3 << 20), (), n) for n in range(5)), 5)
    data = b"".join(encode_at(one, 5 * n) for n in range(20))
    part = list(fetched(data))
    assert sum(len(r.value) for r in part) <= UNPACKED_BYTES_MAX + len(part[0].value) * 5
    assert [r.offset for r in read(data)] == list(range(100))


@pytest.mark.parametrize("codec", [NONE, ZSTD])
def test_a_record_with_very_many_headers_is_unreadable(codec: int) -> None:
    headers = [(b"", b"")] * (HEADERS_MAX + 1)
    data = packed(codec, encode_record(b"k", b"v", headers, 0) + encode_record(b"k", b"v", headers[1:], 1), 2)
    records = read(data)
    assert unreadable(records) == {0: Reason.HEADER}
    assert len(records[1].headers) == HEADERS_MAX


@pytest.mark.parametrize("codec", CODECS[1:])
def test_each_offset_of_a_batch_with_corrupt_compression_is_reported(codec: int) -> None:
    data = compress(codec, [b"".join(encode_record(b"k", bytes(100), (), n) for n in range(4))])
    broken = encode_batch(data[: len(data) // 2], 4, codec, base_offset=1)
    records = read(good(0) + broken + good(5))
    assert unreadable(records) == dict.fromkeys(range(1, 5), Reason.UNREADABLE)
    assert [r.offset for r in records] == list(range(6))


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_a_batch_of_an_unknown_codec_is_unreadable(codec: int) -> None:
    assert unreadable(read(encode_batch(b"?", 1, codec) + good(1))) == {0: Reason.UNREADABLE}


def test_a_batch_with_a_wrong_checksum_is_fetched_again_once_and_then_unreadable() -> None:
    broken = bytearray(good(0, 3))
    broken[-1] ^= 1
    data = bytes(broken) + good(3)
    first = fetched(data)
    assert list(first) == []
    assert first.next_fetch_offset == 0
    second = list(fetched(data))
    assert unreadable(second) == dict.fromkeys(range(3), Reason.UNREADABLE)
    assert second[-1].value == b"v"


def test_a_batch_that_claims_millions_of_records_is_reported_once() -> None:
    huge = encode_batch(b"?", 5_000_000, ZSTD)
    (only,) = read(huge)
    assert isinstance(only, UnreadableRecord)
    assert only.offset == 4_999_999
    assert "offsets 0 to 4999999" in only.rejected.detail
    assert len(read(encode_batch(b"?", REPORTED_MAX, ZSTD))) == REPORTED_MAX


@pytest.mark.parametrize(("members", "readable"), [(GZIP_MEMBERS_MAX, True), (GZIP_MEMBERS_MAX + 1, False)])
def test_gzip_may_have_a_few_members(members: int, readable: bool) -> None:
    data = b"".join(compress(GZIP, [encode_record(b"k", b"v", (), n)]) for n in range(members))
    assert bool(unreadable(read(encode_batch(data, members, GZIP)))) != readable


def test_a_record_with_a_wrong_structure_is_unreadable_and_its_neighbours_are_read() -> None:
    body = b"\0" + varint(0) + varint(1) + varint(50) + b"short"
    data = encode_batch(
        encode_record(b"k", b"0") + varint(len(body)) + body + encode_record(b"k", b"2", (), 2), 3, APPEND_TIME
    )
    records = read(data)
    assert unreadable(records) == {1: Reason.UNREADABLE}
    assert [r.value for r in records] == [b"0", None, b"2"]


def test_batches_of_aiokafka_s_producer_are_read_as_it_reads_them() -> None:
    builder: Any = DefaultRecordBatchBuilder(2, ZSTD, 0, -1, -1, -1, 1 << 20)
    for n in range(50):
        builder.append(n, 1_000 + n, b"key", b"value %d" % n, [("a", b"b")])
    records = read(bytes(builder.build()))
    assert [(r.offset, r.timestamp, r.value) for r in records] == [(n, 1_000 + n, b"value %d" % n) for n in range(50)]


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 1 << 32), codec=st.sampled_from(CODECS), data=st.data())
def test_whatever_the_bytes_of_a_batch_each_offset_is_given_out_once_and_in_order(
    seed: int, codec: int, data: st.DataObject
) -> None:
    chance = random.Random(seed)
    records = b"".join(encode_record(b"k", chance.randbytes(20), [(b"h", b"1")], n) for n in range(4))
    content = bytearray(compress(codec, [records]) if codec else records)
    for at, byte in data.draw(st.lists(st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255)), max_size=5)):
        content[at] = byte
    fuzzed = good(0) + encode_batch(bytes(content), 4, codec, base_offset=1) + good(5)
    given_out = [r.offset for r in read(fuzzed)]
    assert given_out == sorted(set(given_out))
    assert {0, 5} <= set(given_out)
