"""Dead letters: whatever is in the record, its dead letter fits the topic."""

from __future__ import annotations

import json

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event
from hypothesis import given
from hypothesis import strategies as st

from services.contract.dead_letter import (
    COPIED_HEADER_BYTES_MAX,
    CUT_HEADER,
    KEY_BYTES_MAX,
    REASON_HEADER,
    RECORD_PREFIX,
    DeadLetter,
    Reason,
    Rejected,
    make_dead_letter,
    record_header,
)
from services.contract.kafka_record import Headers, RecordPosition
from services.contract.output_events import ALIGNER_SOURCE, OutputHeaders

POSITION = RecordPosition("braid.media.video.v1", 3, 7)


def letter(headers: Headers, detail: str = "why") -> DeadLetter:
    return make_dead_letter(POSITION, "admission", Rejected(Reason.SIZE, detail), b"payload", headers)


def own_headers(id: str, session: bytes | None) -> list[tuple[str, bytes]]:
    return OutputHeaders("dead", ALIGNER_SOURCE).build(id, session, None)


@pytest.mark.parametrize(
    ("key", "stated", "subject", "time"),
    [
        (b"kitchen", b"2026-11-24T10:00:00.5+01:00", b"kitchen", b"2026-11-24T09:00:00.500000Z"),
        (b"a\nb", b"yesterday", None, None),
        (b"\xff", b"\xff", b"\\xff", None),
        (b"", b"", None, None),
    ],
)
def test_session_and_time_of_a_rejected_record_are_those_of_its_dead_letter_if_they_are_valid(
    key: bytes, stated: bytes, subject: bytes | None, time: bytes | None
) -> None:
    cut_key, value, headers = letter([("ce_time", stated), ("ce_specversion", b"2"), ("ce_Bad-name", b"x")]).encode(key)
    assert (dict(headers).get("ce_subject"), dict(headers).get("ce_time")) == (subject, time)
    read = from_kafka_event(KafkaMessage(dict(headers), cut_key, value))
    assert (read.get_type(), read.get_dataschema()) == ("braid.dead.v1", "urn:braid:schema:dead:v1")


def test_a_small_record_is_not_cut() -> None:
    key, value, headers = letter([("ce_id", b"1"), ("traceparent", b"2")]).encode(b"kitchen")
    assert key == b"kitchen"
    assert headers == [
        *own_headers("braid.media.video.v1/3/7/admission/size", b"kitchen"),
        (REASON_HEADER, b"size"),
        (f"{RECORD_PREFIX}ce_id", b"1"),
        ("traceparent", b"2"),
    ]
    assert record_header(headers, "ce_id") == b"1"
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
    headers=st.lists(st.tuples(st.text(max_size=50), st.none() | st.binary(max_size=3_000))),
    detail=st.text(st.characters()),
)
def test_every_dead_letter_fits(key: bytes | None, headers: Headers, detail: str) -> None:
    cut_key, value, cut_headers = letter(headers, detail).encode(key)
    size = len(cut_key or b"") + len(value) + sum(len(n.encode()) + len(raw) for n, raw in cut_headers)
    assert size <= KEY_BYTES_MAX + 4 * COPIED_HEADER_BYTES_MAX + 4_096
    assert from_kafka_event(KafkaMessage(dict(cut_headers), cut_key, value)).get_type() == "braid.dead.v1"


def test_a_record_cannot_choose_the_reason_in_its_dead_letter() -> None:
    forged = [(REASON_HEADER, b"forged"), (CUT_HEADER, b"x"), (f"{RECORD_PREFIX}ce_source", b"/devices/another/mic")]
    _, _, headers = letter(forged).encode(b"k")
    own = own_headers("braid.media.video.v1/3/7/admission/size", b"k")
    assert headers == [*own, (REASON_HEADER, b"size")]


def test_a_dead_letter_by_position_has_nothing_of_the_record() -> None:
    value, headers = letter([("x", b"secret")]).encode_by_position()
    own = own_headers("braid.media.video.v1/3/7/admission/size", None)
    assert headers == [*own, (REASON_HEADER, b"size"), (CUT_HEADER, b"{}")]
    assert json.loads(value)["topic"] == POSITION.topic
