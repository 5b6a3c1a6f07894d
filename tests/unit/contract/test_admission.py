"""Admission: each rule with its reason, each limit at, below and above it."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract import cloudevents, tick
from services.contract.admission import Admitted, AdmittedChunk, admit
from services.contract.alignment_config import AdmissionLimits, AlignmentConfig
from services.contract.chunk import EMPTY_SHA256, SessionEnd
from services.contract.dead_letter import Reason, Rejected
from services.contract.partitioner import partition_of
from services.contract.tick import Tick

NOW_US = 1_800_000_000_000_000
PARTITIONS = 8
SEMANTICS = AlignmentConfig(
    admission=AdmissionLimits(payload_bytes_max=1_000, pixels_max=100 * 100, text_bytes_max=100)
)


def admit_one(
    modality: str = "text",
    body: bytes | None = b"hello",
    content_type: str = "text/plain",
    *,
    session: bytes = b"kitchen",
    t_us: int = NOW_US,
    semantics: AlignmentConfig = SEMANTICS,
    partition: int | None = None,
    without: str = "",
    **more: str,
) -> Admitted | Rejected:
    """Admit one record that is valid except for the arguments."""
    attributes = {"source": "/devices/d/x", "id": "1", "type": cloudevents.media_type(modality), **more}
    extensions = [
        (f"ce_{k}", v)
        for k, v in attributes.items()
        if k not in ("source", "id", "type", "specversion", "subject", "time")
    ]
    headers = cloudevents.build_headers(
        session=attributes.get("subject", session.decode(errors="replace")),
        source=attributes["source"],
        id=attributes["id"],
        type=attributes["type"],
        t_us=t_us,
        content_type=content_type,
        extensions=extensions,
    )
    named = {f"ce_{k}": v.encode() for k, v in more.items()}
    headers = [(k, named.get(k, v)) for k, v in headers if k != without]
    number = partition_of(session, PARTITIONS) if partition is None else partition
    return admit(modality, number, 7, NOW_US, session, headers, body, semantics, PARTITIONS)


def reason(*arguments: Any, **more: Any) -> Reason | None:
    """Return the reason of the rejection, None if the record is admitted."""
    result = admit_one(*arguments, **more)
    return result.reason if isinstance(result, Rejected) else None


def jpeg(width: int, height: int) -> bytes:
    return (
        b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc0\x00\x0b\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\x00rest"
    )


def wav(
    data: bytes, *, rate: int = 8_000, claimed: int | None = None, bits: int = 16, align: int = 2, kind: int = 1
) -> bytes:
    form = struct.pack("<HHIIHH", kind, 1, rate, rate * 2, align, bits)
    length = len(data) if claimed is None else claimed
    return b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", length) + data


def test_a_good_record_is_a_chunk_with_its_identity_and_position() -> None:
    result = admit_one(t_us=NOW_US - 5, id="42")
    assert isinstance(result, AdmittedChunk)
    assert result.chunk.identity == ("/devices/d/x", "42", NOW_US - 5, 0)
    assert (result.chunk.offset, result.chunk.appended_us, result.payload) == (7, NOW_US, b"hello")


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"session": b"s" * 128}, None),
        ({"session": b"s" * 129}, Reason.SESSION),
        ({"session": b""}, Reason.SESSION),
        ({"session": b"\xff"}, Reason.SESSION),
        ({"session": b"a\nb"}, Reason.SESSION),
        ({"session": "a {b} ü".encode()}, None),
        ({"subject": "another"}, Reason.SESSION),
        ({"without": "ce_subject"}, None),
        ({"without": "ce_id"}, Reason.SOURCE),
        ({"without": "ce_source"}, Reason.SOURCE),
        ({"id": "x" * 256}, None),
        ({"id": "x" * 257}, Reason.SOURCE),
        ({"without": "ce_specversion"}, Reason.VERSION),
        ({"specversion": "0.3"}, Reason.VERSION),
        ({"without": "ce_type"}, Reason.TYPE),
        ({"type": "braid.media.video.v1"}, Reason.TYPE),
        ({"without": "ce_time"}, Reason.TIME),
        ({"time": "yesterday"}, Reason.TIME),
        ({"without": "content-type"}, None),
        ({"content_type": "text/html"}, Reason.CONTENT_TYPE),
        ({"t_us": NOW_US + 5_000_000}, None),
        ({"t_us": NOW_US + 5_000_001}, Reason.FUTURE),
        ({"t_us": NOW_US - 24 * 3_600_000_000}, None),
        ({"t_us": NOW_US - 24 * 3_600_000_000 - 1}, Reason.STALE),
        ({"duration": "30000", "t_us": NOW_US - 30_000_000}, None),
        ({"duration": "30000.001"}, Reason.DURATION),
        ({"duration": "-1"}, Reason.DURATION),
        ({"duration": "long"}, Reason.DURATION),
        ({"duration": "1.²"}, Reason.DURATION),
        ({"duration": "1.٢"}, Reason.DURATION),
        ({"duration": "²"}, Reason.DURATION),
        ({"t_us": NOW_US + 59_000_000, "duration": "1000.001"}, Reason.FUTURE),
        ({"body": None}, Reason.NULL),
        ({"body": b""}, Reason.EMPTY),
        ({"body": b"x" * 100}, None),
        ({"body": b"x" * 101}, Reason.TEXT),
        ({"body": b"x" * 1_001}, Reason.SIZE),
        ({"body": b"\xff"}, Reason.UTF8),
        ({"body": b'{"text":"x"}', "content_type": "application/json"}, None),
        ({"body": b'{"text":1}', "content_type": "application/json"}, Reason.TEXT),
        ({"body": b'{"text":"x","text":"y"}', "content_type": "application/json"}, Reason.TEXT),
    ],
)
def test_envelope_and_text_are_checked_with_a_reason(more: dict[str, Any], expected: Reason | None) -> None:
    assert reason(**more) is expected


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (jpeg(100, 100), "image/jpeg", None),
        (jpeg(100, 101), "image/jpeg", Reason.PIXELS),
        (jpeg(0, 100), "image/jpeg", Reason.MAGIC),
        (jpeg(100, 100), "image/png", Reason.MAGIC),
        (b"\xff\xd8", "image/jpeg", Reason.MAGIC),
        (b"GIF89a", "image/gif", Reason.CONTENT_TYPE),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 100, 100), "image/png", None),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 20_000, 20_000), "image/png", Reason.PIXELS),
        (b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + b"\x63\0\0\x63\0\0", "image/webp", None),
    ],
)
def test_images_are_checked_with_a_reason(body: bytes, content_type: str, expected: Reason | None) -> None:
    assert reason("video", body, content_type) is expected


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (bytes(800), "audio/pcm;rate=8000", None),
        (bytes(801), "audio/pcm;rate=8000", Reason.SAMPLES),
        (bytes(802), "audio/pcm;rate=8000;channels=2", Reason.SAMPLES),
        (bytes(800), "audio/pcm;rate=7999", Reason.CONTENT_TYPE),
        (bytes(800), "audio/pcm;rate=48001", Reason.CONTENT_TYPE),
        (bytes(800), "audio/pcm", Reason.CONTENT_TYPE),
        (bytes(800), "audio/pcm;rate=8000;format=f32le", Reason.CONTENT_TYPE),
        (bytes(800), "audio/L16;rate=8000", Reason.CONTENT_TYPE),
        (wav(bytes(800)), "audio/wav", None),
        # Writers to a pipe: ffmpeg, sox, arecord, GStreamer; a stream that was cut may end within a sample.
        (wav(bytes(800), claimed=0xFFFFFFFF), "audio/wav", None),
        (wav(bytes(800), claimed=0x7FFFF000), "audio/wav", None),
        (wav(bytes(800), claimed=0x80000000), "audio/wav", None),
        (wav(bytes(800), claimed=0), "audio/wav", None),
        (wav(bytes(801), claimed=0), "audio/wav", None),
        (wav(bytes(800), claimed=801), "audio/wav", Reason.WAV_HEADER),
        (wav(bytes(801)), "audio/wav", Reason.SAMPLES),
        (wav(bytes(800), rate=0), "audio/wav", Reason.WAV_HEADER),
        (wav(bytes(800), bits=8), "audio/wav", Reason.WAV_HEADER),
        (wav(bytes(800), bits=8, align=1), "audio/wav", None),
        (wav(bytes(800), bits=32, align=4, kind=3), "audio/wav", None),
        (wav(bytes(800), bits=8, align=1, kind=6), "audio/wav", None),
        (wav(bytes(800), bits=8, align=1, kind=7), "audio/wav", None),
        (wav(bytes(800), bits=4, align=1, kind=2), "audio/wav", Reason.WAV_HEADER),
        (wav(bytes(800), align=4), "audio/wav", Reason.WAV_HEADER),
        (b"RIFF", "audio/wav", Reason.MAGIC),
        (b"fLaC" + bytes(40), "audio/flac", Reason.SAMPLES),
        (b"OggS", "audio/ogg", Reason.MAGIC),
    ],
)
def test_audio_is_checked_with_a_reason(body: bytes, content_type: str, expected: Reason | None) -> None:
    assert reason("audio", body, content_type) is expected


@pytest.mark.parametrize(
    ("modality", "body", "declared", "resolved"),
    [
        ("video", jpeg(9, 9), "image/jpg", "image/jpeg"),
        ("video", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 9, 9), "image/jpg", "image/png"),
        ("video", jpeg(9, 9), "application/octet-stream", "image/jpeg"),
        ("video", jpeg(9, 9), "application/x-www-form-urlencoded", "image/jpeg"),
        ("video", jpeg(9, 9), "", "image/jpeg"),
        ("audio", wav(bytes(800)), "audio/x-wav", "audio/wav"),
        ("audio", wav(bytes(800)), "", "audio/wav"),
        ("text", b"hello", "", "text/plain"),
        ("text", b'\xef\xbb\xbf {"text":"x"}', "application/octet-stream", "application/json"),
    ],
)
def test_an_alias_or_unspecific_type_is_resolved_by_first_bytes(
    modality: str, body: bytes, declared: str, resolved: str
) -> None:
    result = admit_one(modality, body, declared)
    assert isinstance(result, AdmittedChunk), result
    assert result.content_type == resolved
    without = admit_one(modality, body, without="content-type")
    assert isinstance(without, AdmittedChunk), without


def test_bytes_that_are_no_known_type_need_a_content_type() -> None:
    assert reason("video", b"hello", "") is Reason.CONTENT_TYPE
    assert reason("video", b"hello", "application/octet-stream") is Reason.CONTENT_TYPE
    assert reason("audio", bytes(100), without="content-type") is Reason.CONTENT_TYPE
    assert reason("text", b"\xff\xd8\xff", "") is Reason.CONTENT_TYPE


@pytest.mark.parametrize(
    "body",
    [
        b'{"text":"see you \\ud83d"}',
        b'\xef\xbb\xbf{"text":"x"}',
        '{"text":"x"}'.encode("utf-16"),
        b'{"text":"x","no_speech":NaN,"logprob":-Infinity,"big":1e999,"n":' + b"9" * 400 + b"}",
        b'{"text":"x","words":[' + b",".join([b'{"word":"x"}'] * 40) + b"]}",
        b'{"text":""}',
    ],
)
def test_a_transcript_is_read_leniently(body: bytes) -> None:
    assert reason("text", body, "application/json") is None


def test_the_limit_of_a_transcript_is_that_of_its_text() -> None:
    assert reason("text", b'{"text":"' + b"x" * 100 + b'"}', "application/json") is None
    assert reason("text", b'{"text":"' + b"x" * 101 + b'"}', "application/json") is Reason.TEXT
    assert reason("text", b'{"text":"' + b"\\u20ac" * 34 + b'"}', "application/json") is Reason.TEXT


def test_the_duration_of_audio_follows_from_its_bytes() -> None:
    result = admit_one("audio", bytes(802), "audio/pcm;rate=16000")
    assert isinstance(result, AdmittedChunk)
    assert result.chunk.duration_us == 401 * 1_000_000 // 16_000


def test_an_alive_record_is_a_chunk_without_bytes() -> None:
    result = admit_one("video", b"", "image/jpeg", type=cloudevents.ALIVE_TYPE)
    assert isinstance(result, AdmittedChunk)
    assert result.chunk.alive
    assert result.chunk.sha256 == EMPTY_SHA256
    assert reason("video", b"x", "image/jpeg", type=cloudevents.ALIVE_TYPE) is Reason.TYPE


def test_a_session_end_names_its_source() -> None:
    assert admit_one(body=b"", type=cloudevents.SESSION_END_TYPE) == SessionEnd("kitchen", "/devices/d/x")


def test_a_record_in_the_wrong_partition_for_its_key_is_rejected() -> None:
    right = partition_of(b"kitchen", PARTITIONS)
    assert reason(partition=(right + 1) % PARTITIONS) is Reason.PARTITION


def test_a_modality_that_the_session_does_not_declare_is_rejected() -> None:
    semantics = AlignmentConfig(sessions=(("kit*", ("audio",)),))
    assert reason(semantics=semantics) is Reason.UNDECLARED


def test_a_record_without_a_key_is_a_tick_or_rejected() -> None:
    value = next(iter(tick.encode({"s": 5}, "tick")))
    assert admit("text", 0, 0, 0, None, tick.headers(value), value, SEMANTICS, 8) == Tick({"s": 5}, "tick")
    result = admit("text", 0, 0, 0, None, [], b"x", SEMANTICS, 8)
    assert isinstance(result, Rejected)
    assert result.reason is Reason.KEY


@given(
    st.sampled_from(["text", "video", "audio"]),
    st.one_of(st.none(), st.binary(max_size=200)),
    st.lists(
        st.tuples(
            st.sampled_from(["ce_id", "ce_source", "ce_type", "ce_time", "ce_duration", "content-type", "x"]),
            st.binary(max_size=60),
        ),
        max_size=9,
    ),
    st.one_of(st.none(), st.binary(max_size=200)),
)
def test_admission_raises_for_no_bytes(
    modality: str, key: bytes | None, headers: list[tuple[str, bytes]], value: bytes | None
) -> None:
    result = admit(modality, 0, 0, NOW_US, key, headers, value, SEMANTICS, 1)
    assert isinstance(result, Rejected | AdmittedChunk | Tick | SessionEnd)


@given(
    st.sampled_from(
        ["image/jpeg", "image/png", "image/webp", "audio/pcm;rate=8000", "audio/wav", "audio/flac", "audio/ogg"]
    ),
    st.sampled_from([jpeg(9, 9), wav(bytes(8)), b"fLaC", b"OggS", b"\x89PNG\r\n\x1a\n", b"RIFF\0\0\0\0WEBP"]),
    st.binary(max_size=120),
    st.integers(0, 60),
)
def test_admission_raises_for_no_media(content_type: str, head: bytes, tail: bytes, cut: int) -> None:
    modality = "video" if content_type.startswith("image") else "audio"
    result = admit_one(modality, head[: len(head) - cut] + tail or b"x", content_type)
    assert isinstance(result, Rejected | AdmittedChunk)


@pytest.mark.parametrize(
    "more",
    [
        {"t_us": NOW_US + 3_600_000_000},
        {"t_us": 0},
        {"without": "ce_time"},
        {"time": "yesterday"},
        {"duration": "30000"},
    ],
)
def test_event_time_of_a_source_without_a_clock_is_its_append_time(more: dict[str, Any]) -> None:
    result = admit_one(semantics=replace(SEMANTICS, clocks=(("d", "arrival"),)), **more)
    assert isinstance(result, AdmittedChunk)
    assert result.chunk.t_us == NOW_US


def test_rejection_of_a_clock_that_is_ahead_says_by_how_much_and_what_to_do() -> None:
    result = admit_one(t_us=NOW_US + 55_000_000)
    assert isinstance(result, Rejected)
    assert "55.0 s" in result.detail
    assert "devices: {<source>: {clock: arrival}}" in result.detail
