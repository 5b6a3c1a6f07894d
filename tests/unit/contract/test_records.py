"""Formats shared by all processes: times, partitions, canonical JSON, idle records, windows."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from services.contract import canonical, tick, timestamps, window
from services.contract.dead_letter import Reason, Rejected
from services.contract.partitioner import murmur2, partition_of
from services.contract.tick import Tick
from services.contract.window import Member, Window, WindowMembers

TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1))
ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(TIMES, ZONES)
def test_timestamps_are_parsed_like_in_the_standard_library(when: datetime, zone: timezone) -> None:
    local = when.replace(tzinfo=UTC).astimezone(zone)
    expected_us = (when - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    assert timestamps.parse(local.isoformat()) == expected_us
    assert timestamps.parse(timestamps.format_us(expected_us)) == expected_us


@pytest.mark.parametrize(
    "text", ["", "now", "2026-11-24", "2026-11-24T10:00:00", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "١٠٢٦"]
)
def test_an_invalid_rfc_3339_timestamp_is_none(text: str) -> None:
    assert timestamps.parse(text) is None


@given(st.binary(max_size=40))
def test_partitions_are_those_of_aiokafka(key: bytes) -> None:
    assert murmur2(key) == aiokafka_murmur2(key) & 0xFFFFFFFF
    assert 0 <= partition_of(key, 8) < 8


def test_partitions_are_those_of_the_java_client() -> None:
    # org.apache.kafka.common.utils.UtilsTest.testMurmur2
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    assert {key: murmur2(key) for key in known} == {key: value & 0xFFFFFFFF for key, value in known.items()}


@pytest.mark.parametrize(
    "raw",
    [
        b"NaN",
        b'{"a":1,"a":2}',
        b"[" * 100_000,
        b"\xff",
        b"{",
        b"",
        b"9" * 5_000,
        b"1e999",
        b"-1e999",
        b"9223372036854775808",
        b'"\\ud83d"',
        b'{"\\uD83D":1}',
        b"\xef\xbb\xbf{}",
    ],
)
def test_json_that_the_standard_parser_accepts_or_crashes_on_is_rejected(raw: bytes) -> None:
    with pytest.raises(canonical.InvalidJson):
        canonical.loads(raw)


DEEP: list[object] = []
for _ in range(5_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "\ud83d", {"\ud83d": 1}, 1 << 63, [{"a": -(1 << 64)}], [10**5_000], {1}, DEEP]
)
def test_a_value_without_canonical_json_is_refused(value: object) -> None:
    with pytest.raises(canonical.UnwritableJson):
        canonical.dumps(value)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec=None)), inner)
)


@given(VALUES)
def test_what_is_written_is_read_back_and_what_is_read_can_be_written(value: object) -> None:
    try:
        raw = canonical.dumps(value)
    except canonical.UnwritableJson:
        raw = json.dumps(value).encode()
    # A value may have no canonical JSON, or keys that are equal once written.
    with contextlib.suppress(canonical.InvalidJson, canonical.UnwritableJson):
        assert canonical.dumps(canonical.loads(raw)) == canonical.dumps(value)
    with contextlib.suppress(canonical.InvalidJson):
        canonical.dumps(canonical.loads(raw))


@given(VALUES)
def test_what_a_device_wrote_is_read_leniently_and_can_be_written(value: object) -> None:
    assert canonical.dumps(canonical.loads_lenient(json.dumps(value).encode("utf-8-sig"))) is not None


def test_halves_of_characters_become_one_character_or_a_replacement() -> None:
    assert canonical.loads_lenient(b'["a\\ud83d\\ude00", "a\\ud83d", "\\\\ud83d"]') == [
        "a\U0001f600",
        "a\ufffd",
        "\\ud83d",
    ]
    assert canonical.decode_text("\ud83d".encode("utf-8", "surrogatepass")) == "\ufffd"
    assert canonical.decode_text(b"\xff") is None


@given(st.dictionaries(st.text(min_size=1, max_size=128), st.integers(-(2**60), 2**60), min_size=1, max_size=60))
def test_idle_records_hold_every_watermark_once_and_have_a_bounded_size(bounds: dict[str, int]) -> None:
    read: dict[str, int] = {}
    for value in tick.encode(bounds, "end"):
        assert len(value) <= tick.TICK_BYTES_MAX
        found = tick.decode(value)
        assert isinstance(found, Tick)
        assert found.evidence == "end"
        assert not read.keys() & found.bounds.keys()
        read |= found.bounds
    assert read == bounds


def test_many_sessions_are_split_by_size() -> None:
    bounds = {f"session {n:05d}": n for n in range(10_000)}
    records = list(tick.encode(bounds, "tick"))
    assert 3 < len(records) < 20
    assert all(len(value) <= tick.TICK_BYTES_MAX for value in records)


@pytest.mark.parametrize(
    "value",
    [b"", b"[]", b'{"bounds":{"s":1}}', b'{"bounds":{"s":true},"evidence":"tick"}', b'{"bounds":1,"evidence":"end"}'],
)
def test_a_malformed_idle_record_is_rejected(value: bytes) -> None:
    found = tick.decode(value)
    assert isinstance(found, Rejected)
    assert found.reason is Reason.TICK


def test_a_window_survives_a_round_trip_and_its_digest_ignores_log_positions() -> None:
    member = Member("/d", "1", 5, 0, "00", 3, 9)
    lane = WindowMembers("present", "data", 12, (member,))
    one = Window("küche {1}", 0, 10, None, True, "c", {"a": lane, "b": WindowMembers("unknown", "tick", 13, ())}, 1, 2)
    assert window.decode(window.encode(one)) == one
    assert one.id == "küche {1}/0/1"
    elsewhere = Member("/d", "1", 5, 0, "00", 3, 1_000)
    other = Window(
        "küche {1}",
        0,
        10,
        None,
        True,
        "c",
        {**one.modalities, "a": WindowMembers("present", "data", 12, (elsewhere,))},
        8,
        9,
    )
    assert other.digest == one.digest
    assert json.loads(window.encode(one))["modalities"]["a"]["members"][0]["at"] == [3, 9]
