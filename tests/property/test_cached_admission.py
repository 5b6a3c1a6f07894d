"""Cached admission judges each record like `admit`."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.aligner import cached_admission as gate_of
from services.aligner.cached_admission import AdmissionCache
from services.contract import cloudevents, timestamps
from services.contract.admission import AdmittedChunk, admit
from services.contract.alignment_config import AdmissionLimits, AlignmentConfig
from services.contract.partitioner import partition_of
from tests.simulation.broker import FakeRecord

T_US = 1_700_000_000_000_000
SEMANTICS = AlignmentConfig(
    admission=AdmissionLimits(payload_bytes_max=60, header_bytes_max=330, name_bytes_max=12),
    clocks=(("/d/2", "arrival"),),
)
COUNT = 2
NUMBER = partition_of(b"s", COUNT)
# The first of each is good, so that most records are of streams that are known by then.
BODIES = {
    "audio": [bytes(8), bytes(7), bytes(64), b""],
    "video": [b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x08\x00\x08\x03", b"no picture", b""],
    "text": [b"hello", b'{"text":"a"}', b"\xff"],
}
TYPES = {
    "audio": ["audio/pcm;rate=8000;channels=1;format=s16le", "audio/pcm;rate=9"],
    "video": ["image/jpeg", "image/png"],
    "text": ["text/plain; charset=utf-8", "application/json"],
}
TIMES = [
    timestamps.format_us(T_US),
    timestamps.format_us(T_US + 61_000_000),
    timestamps.format_us(T_US - 90_000_000_000),
]
TIMES += ["2023-11-14T22:13:20Z", "2023-11-14T22:13:60.123456Z", "2023-11-14T22:13:20.12345+Z", "never"]


@st.composite
def records(draw: st.DrawFn) -> tuple[str, FakeRecord]:
    """A record that is mostly good, of few streams; now and then something of it is not."""

    def mostly(good: str, *others: str) -> str:
        return good if draw(st.integers(0, 9)) else draw(st.sampled_from(others))

    modality = draw(st.sampled_from(sorted(BODIES)))
    session = mostly("s", "t", "r")
    headers = cloudevents.build_headers(
        session=mostly(session, "another", ""),
        source=mostly(draw(st.sampled_from(["/d/1", "/d/1", "/d/2"])), "", "/" * 13),
        id=mostly(draw(st.sampled_from("123")), "", "x" * 13),
        type=mostly(cloudevents.media_type(modality), cloudevents.ALIVE_TYPE, cloudevents.SESSION_END_TYPE),
        t_us=T_US,
        content_type=mostly(TYPES[modality][0], *TYPES[modality][1:], ""),
        extensions=[("ce_duration", mostly("20", "-1", "40000", "x"))] if draw(st.booleans()) else [],
    )
    headers = [(n, mostly(TIMES[0], *TIMES[1:]).encode() if n == "ce_time" else raw) for n, raw in headers]
    if draw(st.booleans()):
        headers.append(
            (draw(st.sampled_from(["ce_sequence", "traceparent", "other"])), mostly("1", "1" * 120).encode())
        )
    at = draw(st.integers(0, len(headers) - 1))
    broken: Sequence[Sequence[tuple[str, bytes]]] = [
        [*headers[:at], *headers[at + 1 :]],
        [*headers, headers[at]],
        [*headers[:at], (headers[at][0], b"\xff"), *headers[at + 1 :]],
        [*headers[:at], (headers[at][0], None), *headers[at + 1 :]],  # type: ignore[list-item]
        headers[::-1],
    ]
    if not draw(st.integers(0, 9)):
        headers = list(draw(st.sampled_from(broken)))
    body = draw(st.sampled_from(BODIES[modality])) if not draw(st.integers(0, 3)) else BODIES[modality][0]
    offset = draw(st.integers(0, 99))
    return modality, FakeRecord(offset, T_US // 1000, session.encode(), body, headers)


@given(st.lists(records(), min_size=1, max_size=12))
def test_cached_admission_judges_every_record_like_admit(sent: list[tuple[str, FakeRecord]]) -> None:
    gate = AdmissionCache(NUMBER, COUNT, SEMANTICS)
    for modality, one in sent:
        alone = admit(
            modality, NUMBER, one.offset, one.timestamp * 1000, one.key, one.headers, one.value, SEMANTICS, COUNT
        )
        assert gate.admit(modality, one) == alone


def test_second_record_of_a_stream_comes_from_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = AdmissionCache(NUMBER, COUNT, SEMANTICS)
    for n, (modality, bodies) in enumerate(2 * list(BODIES.items())):
        headers = cloudevents.build_headers(
            session="s",
            source=f"/d/{modality}",
            id=str(n),
            type=cloudevents.media_type(modality),
            t_us=T_US + n,
            content_type=TYPES[modality][0],
            extensions=[("ce_sequence", str(n))],
        )
        assert isinstance(gate.admit(modality, FakeRecord(n, T_US // 1000, b"s", bodies[0], headers)), AdmittedChunk)
        if n == len(BODIES) - 1:
            monkeypatch.setattr(gate_of, "admit", lambda *_: pytest.fail("a stream that was known"))
