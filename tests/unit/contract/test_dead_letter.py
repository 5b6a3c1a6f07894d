"""Dead letters: whatever is in the record, its dead letter fits the topic."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract.dead_letter import (
    COPIED_HEADER_BYTES_MAX,
    CUT_HEADER,
    KEY_BYTES_MAX,
    REASON_HEADER,
    DeadLetter,
    Reason,
    Rejected,
    make_dead_letter,
)
from services.contract.kafka_record import Headers, RecordPosition

POSITION = RecordPosition("braid.media.video.v1", 3, 7)


def letter(headers: Headers, detail: str = "why") -> DeadLetter:
    return make_dead_letter(POSITION, "admission", Rejected(Reason.SIZE, detail), b"payload", headers)


def test_a_small_record_is_not_cut() -> None:
    key, value, headers = letter([("ce_id", b"1")]).encode(b"kitchen")
    assert key == b"kitchen"
    assert headers == [(REASON_HEADER, b"size"), ("ce_id", b"1")]
    assert json.loads(value)["offset"] == 7


@pytest.mark.parametrize(
    ("key", "headers", "sizes"),
    [
        (b"k" * 4_000_000, (), {"key_bytes": 4_000_000, "header_bytes": 0, "headers": 0}),
        (b"k", [("x", b"v" * 3_000_000)], {"key_bytes": 1, "header_bytes": 3_000_001, "headers": 1}),
        (None, [("n" * 3_000_000, b"")], {"key_bytes": 0, "header_bytes": 3_000_000, "headers": 1}),
        (b"k", [("", b"")] * 1_000_000, {"key_bytes": 1, "header_bytes": 0, "headers": 1_000_000}),
        (b"k", [("é" * 5_000, b"")], {"key_bytes": 1, "header_bytes": 10_000, "headers": 1}),
    ],
)
def test_key_and_headers_are_cut_and_the_original_sizes_are_stated(
    key: bytes | None, headers: Headers, sizes: dict[str, int]
) -> None:
    cut_key, _, cut_headers = letter(headers).encode(key)
    assert cut_key == (None if key is None else key[:KEY_BYTES_MAX])
    assert dict(cut_headers)[REASON_HEADER] == b"size"
    assert json.loads(dict(cut_headers)[CUT_HEADER]) == sizes


@given(
    key=st.none() | st.binary(max_size=3_000),
    headers=st.lists(st.tuples(st.text(st.characters(), max_size=50), st.none() | st.binary(max_size=3_000))),
    detail=st.text(st.characters()),
)
def test_every_dead_letter_fits(key: bytes | None, headers: Headers, detail: str) -> None:
    cut_key, value, cut_headers = letter(headers, detail).encode(key)
    size = len(cut_key or b"") + len(value) + sum(len(n.encode()) + len(raw) for n, raw in cut_headers)
    assert size <= KEY_BYTES_MAX + COPIED_HEADER_BYTES_MAX + 4_096


def test_a_record_cannot_choose_the_reason_in_its_dead_letter() -> None:
    _, _, headers = letter([(REASON_HEADER, b"forged"), (CUT_HEADER, b"x")]).encode(b"k")
    assert headers == [(REASON_HEADER, b"size")]


def test_a_dead_letter_by_position_has_nothing_of_the_record() -> None:
    value, headers = letter([("x", b"secret")]).encode_by_position()
    assert headers == [(REASON_HEADER, b"size"), (CUT_HEADER, b"{}")]
    assert json.loads(value)["topic"] == POSITION.topic
