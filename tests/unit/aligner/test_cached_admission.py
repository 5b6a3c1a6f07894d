"""Limits of the cached admission: each record is judged as by `admit`."""

from __future__ import annotations

import json

import pytest

from services.aligner import cached_admission as gate_of
from services.aligner.cached_admission import AdmissionCache
from services.contract import cloudevents, timestamps
from services.contract.admission import AdmittedChunk, admit
from services.contract.alignment_config import AdmissionLimits, AlignmentConfig
from services.contract.dead_letter import Reason, Rejected
from services.contract.partitioner import partition_of
from tests.simulation.broker import FakeRecord

T_US = 1_700_000_000_000_000
COUNT = 2
NUMBER = partition_of(b"s", COUNT)
TEXT = cloudevents.media_type("text")


def record(
    offset: int, body: bytes = b"hello", *, source: str = "/d/1", type: str = TEXT, more: dict[str, str] | None = None
) -> FakeRecord:
    headers = cloudevents.build_headers(
        session="s",
        source=source,
        id=str(offset),
        type=type,
        t_us=T_US,
        content_type="text/plain",
        extensions=list((more or {}).items()),
    )
    return FakeRecord(offset, T_US // 1000, b"s", body, headers)


def header_bytes(one: FakeRecord) -> int:
    return sum(len(name) + len(raw) for name, raw in one.headers)


def test_record_of_a_known_stream_is_rejected_from_one_header_byte_above_the_limit() -> None:
    names = ("ce_sequence", "ce_recordedtime", "ce_expirytime", "traceparent")
    source = "/d/" + 150 * "x"
    rich = record(1, source=source, more=dict.fromkeys(names, "x" * 30))
    for missing, taken in ((1, False), (0, True)):
        semantics = AlignmentConfig(admission=AdmissionLimits(header_bytes_max=header_bytes(rich) - missing))
        gate = AdmissionCache(NUMBER, COUNT, semantics)
        assert isinstance(gate.admit("text", record(0, source=source, more=dict.fromkeys(names, "x"))), AdmittedChunk)
        assert isinstance(gate.admit("text", rich), AdmittedChunk) == taken


def test_alive_record_with_bytes_is_rejected_after_one_without() -> None:
    gate = AdmissionCache(NUMBER, COUNT, AlignmentConfig())
    assert isinstance(gate.admit("text", record(0, b"", type=cloudevents.ALIVE_TYPE)), AdmittedChunk)
    refused = gate.admit("text", record(1, b"bytes", type=cloudevents.ALIVE_TYPE))
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.TYPE


def test_attributes_of_a_structured_event_come_from_its_value() -> None:
    gate = AdmissionCache(NUMBER, COUNT, AlignmentConfig())
    for n in range(2):
        event = {"specversion": "1.0", "id": f"own{n}", "source": "/d/own", "type": TEXT, "data": "hello"}
        event |= {"time": timestamps.format_us(T_US), "datacontenttype": "text/plain"}
        headers = [("content-type", cloudevents.STRUCTURED.encode()), ("ce_id", b"x"), ("ce_time", b"never")]
        read = gate.admit("text", FakeRecord(n, T_US // 1000, b"s", json.dumps(event).encode(), headers))
        assert isinstance(read, AdmittedChunk)
        assert (read.chunk.id, read.chunk.source, read.payload) == (f"own{n}", "/d/own", b"hello")


def test_record_of_a_known_stream_without_bytes_is_rejected() -> None:
    gate = AdmissionCache(NUMBER, COUNT, AlignmentConfig())
    assert isinstance(gate.admit("text", record(0)), AdmittedChunk)
    refused = gate.admit("text", record(1, b""))
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.EMPTY


# The same names in the same places: the error is in a header that the cache compares by position only.
@pytest.mark.parametrize(
    ("name", "to"),
    [("ce_sequence", ("ce_sequence", b"\xff")), ("ce_sequence", ("ce_id", b"2")), ("traceparent", ("other", b"x"))],
)
def test_record_of_a_known_stream_with_an_unexpected_header_is_judged_by_admit(
    name: str, to: tuple[str, bytes]
) -> None:
    gate, more = AdmissionCache(NUMBER, COUNT, AlignmentConfig()), {"ce_sequence": "1", "traceparent": "x"}
    assert isinstance(gate.admit("text", record(0, more=more)), AdmittedChunk)
    changed = [to if header == name else (header, raw) for header, raw in record(1, more=more).headers]
    alone = admit("text", NUMBER, 1, T_US, b"s", changed, b"hello", AlignmentConfig(), COUNT)
    assert gate.admit("text", FakeRecord(1, T_US // 1000, b"s", b"hello", changed)) == alone
    assert isinstance(alone, Rejected) == (name == "ce_sequence")


@pytest.mark.parametrize(("size", "reason"), [(8_001, Reason.SAMPLES), (2 * 8_000 * 61, Reason.DURATION)])
def test_audio_of_a_known_stream_without_a_valid_duration_is_rejected(size: int, reason: Reason) -> None:
    semantics = AlignmentConfig(admission=AdmissionLimits(payload_bytes_max=1 << 22))
    gate, first = (
        AdmissionCache(NUMBER, COUNT, semantics),
        record(0, bytes(1_600), type=cloudevents.media_type("audio")),
    )
    headers = [(n, b"audio/pcm;rate=8000" if n == "content-type" else raw) for n, raw in first.headers]
    results = [
        gate.admit("audio", FakeRecord(n, T_US // 1000, b"s", bytes(b), headers)) for n, b in ((0, 1_600), (1, size))
    ]
    assert isinstance(results[0], AdmittedChunk)
    assert isinstance(results[1], Rejected)
    assert results[1].reason is reason


# ce_id is a timestamp too: read by position only, it would be mistaken for ce_time.
@pytest.mark.parametrize("changed", [("ce_id", "ce_time"), ("ce_sequence", "traceparent"), ("ce_id", "ce_sequence")])
def test_headers_in_another_order_are_read_by_name(changed: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    gate = AdmissionCache(NUMBER, COUNT, AlignmentConfig())
    first = record(0, more={"ce_sequence": timestamps.format_us(T_US + 2), "traceparent": "x"})
    headers = [(n, timestamps.format_us(T_US + 1).encode() if n == "ce_id" else raw) for n, raw in first.headers]
    names = [name for name, _ in headers]
    one, other = map(names.index, changed)
    headers[one], headers[other] = headers[other], headers[one]
    again = [FakeRecord(n, T_US // 1000, b"s", b"hello", headers) for n in (1, 2)]
    assert isinstance(gate.admit("text", first), AdmittedChunk)
    for place, one_of in enumerate(again):
        alone = admit("text", NUMBER, one_of.offset, T_US, b"s", headers, b"hello", AlignmentConfig(), COUNT)
        assert isinstance(alone, AdmittedChunk)
        assert gate.admit("text", one_of) == alone, place
        monkeypatch.setattr(gate_of, "admit", lambda *_: pytest.fail("an order that was known"))


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The offsets of the records that are judged whole, as they come."""
    found: list[int] = []

    def judged(*given: object) -> object:
        found.append(given[2])  # type: ignore[arg-type]
        return admit(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(gate_of, "admit", judged)
    return found


def test_cache_forgets_all_streams_at_its_limit(
    whole: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate_of, "STREAMS_MAX", 2)
    gate = AdmissionCache(NUMBER, COUNT, AlignmentConfig())
    for offset, source in enumerate(["/1", "/2", "/1", "/2", "/3", "/3", "/1", "/3", "/1", "/2", "/3"]):
        assert isinstance(gate.admit("text", record(offset, source=source)), AdmittedChunk)
    assert whole == [0, 1, 4, 6, 9, 10]


def test_record_of_a_known_stream_at_the_header_limit_comes_from_the_cache(whole: list[int]) -> None:
    gate = AdmissionCache(
        NUMBER, COUNT, AlignmentConfig(admission=AdmissionLimits(header_bytes_max=header_bytes(record(0))))
    )
    for offset in range(2):
        assert isinstance(gate.admit("text", record(offset)), AdmittedChunk)
    assert whole == [0]


def test_cache_forgets_the_sources_of_a_session_at_their_limit(
    whole: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate_of, "SOURCES_MAX", 2)
    monkeypatch.setattr(gate_of, "STREAMS_MAX", 3)
    gate = AdmissionCache(NUMBER, COUNT, AlignmentConfig())
    for offset, source in enumerate(["/1", "/2", "/1", "/2", "/3", "/3", "/4", "/3", "/4", "/1"]):
        assert isinstance(gate.admit("text", record(offset, source=source)), AdmittedChunk)
    assert whole == [0, 1, 4, 6, 9]


def test_source_that_sends_once_displaces_none_that_send_again(whole: list[int]) -> None:
    gate = AdmissionCache(NUMBER, COUNT, AlignmentConfig())
    regular = [f"/{n}" for n in range(gate_of.SOURCES_MAX)]
    for offset, source in enumerate([*regular, *regular, *regular]):
        assert isinstance(gate.admit("text", record(offset, source=source)), AdmittedChunk)
    known = 2 * len(regular) - gate_of.REMEMBERED_AT_ONCE
    assert len(whole) == known
    for offset in range(200):
        gate.admit("text", record(offset, source=f"/new {offset}"))
    whole.clear()
    for offset, source in enumerate(regular):
        assert isinstance(gate.admit("text", record(offset, source=source)), AdmittedChunk)
    assert whole == []
