"""Requests with media: the record that they become, the reasons to reject them, and their trace."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.cli.source_devices import count_record
from services.contract import timestamps, trace_context
from services.contract.admission import admit
from services.contract.alignment_config import AlignmentConfig
from services.contract.dead_letter import Reason, Rejected
from services.contract.kafka_record import KafkaRecord
from services.contract.source_stats import SourceStats
from services.gateway.ingest import (
    CLOCK_REPORT_EVERY_US,
    ClockReports,
    IngestTrace,
    OutgoingChunk,
    build_chunk,
    trace_of,
)
from services.gateway.messages import media_messages
from services.gateway.sources import SourceStore
from services.runtime.device_directory import DeviceDirectory
from services.runtime.settings import DeviceSettings

CONFIG = AlignmentConfig()
NOW_US = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
NO_DEVICES = DeviceDirectory({})


def reason(modality: str, body: bytes, session: str = "s", **attributes: str) -> Reason | None:
    headers = {name.replace("_", "-"): value for name, value in attributes.items()}
    chunk = build_chunk(session, modality, headers, body, CONFIG, NO_DEVICES, NOW_US)
    return chunk.reason if isinstance(chunk, Rejected) else None


def test_a_text_needs_only_a_content_type() -> None:
    chunk = build_chunk("kitchen", "text", {"content-type": "text/plain"}, b"hi", CONFIG, NO_DEVICES, NOW_US)
    assert isinstance(chunk, OutgoingChunk)
    headers = dict(chunk.headers)
    assert headers["ce_type"] == b"braid.media.text.v1"
    assert headers["ce_source"] == b"/devices/http/text"
    assert headers["ce_subject"] == b"kitchen"
    assert headers["ce_id"] == chunk.id.encode()


def test_stated_attributes_become_headers() -> None:
    request = {
        "content-type": "text/plain",
        "ce-id": "7",
        "ce-source": "/devices/a/b",
        "ce-time": "2026-01-01T00:00:00.5+01:00",
        "ce-duration": "250",
    }
    chunk = build_chunk("s", "text", request, b"hi", CONFIG, NO_DEVICES, NOW_US)
    assert isinstance(chunk, OutgoingChunk)
    headers = dict(chunk.headers)
    assert headers["ce_time"] == b"2025-12-31T23:00:00.500000Z"
    assert (headers["ce_id"], headers["ce_source"], headers["ce_duration"]) == (b"7", b"/devices/a/b", b"250")


def test_a_record_has_the_type_that_its_first_bytes_show() -> None:
    chunk = build_chunk("s", "text", {"content-type": "application/octet-stream"}, b"hi", CONFIG, NO_DEVICES, NOW_US)
    assert isinstance(chunk, OutgoingChunk)
    assert dict(chunk.headers)["content-type"] == b"text/plain"


def test_alive_records_and_session_ends_must_have_no_bytes() -> None:
    assert reason("video", b"", ce_type="braid.alive.v1") is None
    assert reason("video", b"", ce_type="braid.session.end.v1") is None
    assert reason("video", b"x", ce_type="braid.alive.v1") == Reason.TYPE


def test_each_rejection_has_its_reason() -> None:
    plain = {"content_type": "text/plain"}
    assert reason("text", b"hi", "", **plain) == Reason.SESSION
    assert reason("text", b"hi", "x" * 129, **plain) == Reason.SESSION
    assert reason("text", b"hi", ce_type="braid.tick.v1", **plain) == Reason.TYPE
    assert reason("text", b"hi", ce_time="noon", **plain) == Reason.TIME
    assert reason("text", b"hi", ce_id="x" * 257, **plain) == Reason.SOURCE
    assert reason("text", b"x" * 8_193, **plain) == Reason.TEXT
    assert reason("text", b'{"a":1}', content_type="application/json") == Reason.TEXT
    assert reason("text", b"{", content_type="application/json") == Reason.TEXT
    assert reason("video", b"hi") == Reason.CONTENT_TYPE
    assert reason("text", b"hi", ce_duration="1.²", **plain) == Reason.DURATION
    assert reason("text", b"hi", ce_time="9999-12-31T23:59:60Z", **plain) == Reason.TIME
    assert reason("text", b"hi", ce_duration="1" * 9_000, **plain) == Reason.HEADER
    assert [reason("text", b"hi", ce_duration=duration, **plain) for duration in ("abc", "-5", "99999999")] == [
        Reason.DURATION
    ] * 3
    assert reason("text", b"hi", ce_time="2026-01-01T00:10:00Z", **plain) == Reason.FUTURE
    assert reason("text", b"hi", ce_time="2025-12-30T00:00:00Z", **plain) == Reason.STALE
    assert reason("audio", bytes(40 * 16_000), content_type="audio/pcm;rate=8000") == Reason.DURATION


def test_the_clock_of_a_device_is_corrected_even_if_all_its_records_are_rejected() -> None:
    devices = DeviceDirectory({"cam": DeviceSettings(clock_offset_ms="auto")})
    ahead = {"content-type": "text/plain", "ce-source": "/devices/cam/text", "ce-time": "2026-01-01T00:10:00Z"}
    verdicts = [build_chunk("s", "text", ahead, b"hi", CONFIG, devices, NOW_US) for _ in range(4)]
    assert [isinstance(verdict, Rejected) for verdict in verdicts] == [True, True, True, False]


def test_device_whose_chunks_are_rejected_for_its_clock_is_listed_with_what_to_do() -> None:
    request = {"content-type": "text/plain", "ce-source": "/devices/cam/text", "ce-time": "2026-01-01T00:00:55Z"}
    rejected = build_chunk("s", "text", request, b"hi", CONFIG, NO_DEVICES, NOW_US)
    assert isinstance(rejected, Rejected)
    assert rejected.clock is not None
    reports = ClockReports()
    headers = reports.headers_of("s", "text", rejected.clock, NOW_US)
    assert headers is not None
    assert reports.headers_of("s", "text", rejected.clock, NOW_US + 1) is None, "not with every chunk"
    assert reports.headers_of("s", "text", rejected.clock, NOW_US + 2 * CLOCK_REPORT_EVERY_US) is not None

    again = admit("text", 0, 0, NOW_US, b"s", headers, b"", CONFIG, partition_count=1)
    assert isinstance(again, Rejected)
    assert again.clock == rejected.clock, "the aligner's metric gets the same clock offset"
    record = KafkaRecord("braid.media.text.v1", 0, 0, NOW_US // 1000, b"s", headers, b"")
    store, of_cli = SourceStore(30_000_000), dict[tuple[str, str, str], SourceStats]()
    for message in media_messages("text", record):
        store.add(message)
    count_record(of_cli, record, "text", CONFIG)
    (listed,) = store.as_json(NOW_US)
    assert listed["clock_problem"] == "clock 55 s ahead"
    assert "/devices/cam/text" in listed["clock_remedy"]
    assert of_cli["s", "text", "/devices/cam/text"].as_json("x", NOW_US, 1)["clock_problem"] == "clock 55 s ahead"


def test_a_device_gets_the_session_and_the_clock_correction_of_the_settings() -> None:
    devices = DeviceDirectory({"cam": DeviceSettings(session="porch", modality="video", clock_offset_ms=-1_500)})
    request = {"content-type": "image/jpeg", "ce-source": "/devices/cam/front", "ce-type": "braid.alive.v1"}
    chunk = build_chunk(
        "anywhere", "video", request | {"ce-time": "2026-01-01T00:00:05Z"}, b"", CONFIG, devices, NOW_US
    )
    assert isinstance(chunk, OutgoingChunk)
    headers = dict(chunk.headers)
    assert (chunk.session, headers["ce_subject"]) == ("porch", b"porch")
    assert headers["ce_time"] == b"2026-01-01T00:00:03.500000Z"
    assert headers["ce_recordedtime"] == b"2026-01-01T00:00:05.000000Z"
    undated = build_chunk("anywhere", "video", request, b"", CONFIG, devices, NOW_US)
    assert isinstance(undated, OutgoingChunk)
    assert "ce_recordedtime" not in dict(undated.headers), "a time that the gateway sets needs no correction"
    other = build_chunk("anywhere", "audio", request, b"", CONFIG, devices, NOW_US)
    assert isinstance(other, Rejected)
    assert other.reason == Reason.SOURCE


@pytest.mark.parametrize("time", ["2031-01-01T00:00:00Z", "yesterday", ""])
def test_time_of_a_device_without_a_clock_is_that_of_its_arrival(time: str) -> None:
    config = replace(CONFIG, clocks=(("cam", "arrival"),))
    request = {"content-type": "text/plain", "ce-source": "/devices/cam/text", "ce-time": time}
    chunk = build_chunk("hall", "text", request, b"hello", config, DeviceDirectory({}), NOW_US)
    assert isinstance(chunk, OutgoingChunk)
    assert dict(chunk.headers)["ce_time"] == timestamps.format_us(NOW_US).encode()


TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RECORDED, NOT_RECORDED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


def traceparents(trace: IngestTrace) -> list[str]:
    return [raw.decode() for name, raw in trace.headers if name == "traceparent"]


def test_a_recorded_trace_of_the_device_continues_with_a_span_of_the_gateway() -> None:
    trace = trace_of(RECORDED, "a record", 1.0)
    (span,) = trace.spans("text", (2, 7), 10, 30)
    assert (span.name, span.trace_id, span.parent, span.begins_us, span.ends_us) == ("ingest", TRACE, SPAN, 10, 30)
    assert traceparents(trace) == [f"00-{TRACE}-{span.id}-01"]


def test_a_sampled_record_without_a_trace_starts_one() -> None:
    trace = trace_of(None, "a record", 1.0)
    (span,) = trace.spans("text", (0, 0), 0, 1)
    assert (span.trace_id, span.parent) == (trace_context.trace_id("a record"), None)
    assert trace_of(None, "a record", 1e-9) == IngestTrace([])


@pytest.mark.parametrize(("header", "share"), [(RECORDED, 0.0), (NOT_RECORDED, 0.0), (NOT_RECORDED, 1.0)])
def test_a_trace_that_is_not_recorded_passes_through(header: str, share: float) -> None:
    trace = trace_of(header, "a record", share)
    assert traceparents(trace) == [header]
    assert trace.spans("text", (0, 0), 0, 1) == []


@pytest.mark.parametrize(
    "bad", ["", "00-7", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", "é"]
)
def test_an_invalid_traceparent_is_ignored(bad: str) -> None:
    assert trace_of(bad, "a record", 0.0) == IngestTrace([])
