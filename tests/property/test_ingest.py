"""The HTTP API accepts exactly the records that the aligner admits."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from services.aligner.cached_admission import AdmissionCache
from services.contract import cloudevents, timestamps
from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import SessionEnd
from services.contract.dead_letter import Rejected
from services.contract.kafka_record import KafkaRecord
from services.contract.partitioner import partition_of
from services.gateway.ingest import OutgoingChunk, build_chunk
from services.runtime.device_directory import DeviceDirectory

CONFIG = AlignmentConfig(sessions=(("hall*", ("text",)),), clocks=(("without clock", "arrival"),))
NOW_US = 1_700_000_000_000_000
PARTITIONS = 4
JPEG = b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x08\x00\x08\x03"
MODALITIES = st.sampled_from(["text", "video", "audio"])
SESSIONS = st.sampled_from(["kitchen", "hall 1", "", "x" * 129, "\x07", "küche"]) | st.text(max_size=140)
BODIES = (
    st.sampled_from(
        [
            b"hello",
            b'{"text":"a"}',
            b'{"text":"\\ud83d","x":NaN}',
            b'\xef\xbb\xbf{"text":"a"}',
            JPEG,
            bytes(8),
            bytes(640_000),
            b"x" * 9_000,
            b"",
        ]
    )
    | st.binary()
)
CONTENT_TYPES = st.sampled_from(
    [
        "text/plain",
        "application/json",
        "image/jpeg",
        "image/png",
        "audio/pcm;rate=8000",
        "audio/pcm",
        "audio/wav",
        "audio/x-wav",
        "image/jpg",
        "application/octet-stream",
        "",
        "a/b",
    ]
)
TIMES = st.integers(-200_000, 700).map(lambda s: timestamps.format_us(NOW_US + s * 1_000_000))
# Requests have more than one header; each is mostly good, so that all checks are reached.
HEADERS = st.fixed_dictionaries(
    {"content-type": CONTENT_TYPES, "ce-id": st.sampled_from(["7", "x" * 257]) | st.text(min_size=1)},
    optional={
        "ce-source": st.sampled_from(["/devices/a/b", "/devices/without clock/b", "x" * 257]) | st.text(min_size=1),
        "ce-type": st.sampled_from(["braid.alive.v1", "braid.session.end.v1", "braid.media.text.v1", "braid.tick.v1"]),
        "ce-time": TIMES,
        "ce-duration": st.sampled_from(["abc", "-5", "99999999", "250", "12.5", "1.²", "1" * 9_000])
        | st.text(min_size=1),
    },
)


def aligner_verdict(session: str, modality: str, headers: list[tuple[str, bytes]], body: bytes) -> object:
    """Judge a record as the aligner that owns its partition does."""
    key = session.encode()
    partition = partition_of(key, PARTITIONS)
    record = KafkaRecord("media", partition, 5, NOW_US // 1000, key, headers, body)
    return AdmissionCache(partition, PARTITIONS, CONFIG).admit(modality, record)


def record_headers(session: str, modality: str, request: dict[str, str]) -> list[tuple[str, bytes]]:
    """The headers of a record that says what a request says."""
    time_us = timestamps.parse(request["ce-time"]) if "ce-time" in request else NOW_US
    assert time_us is not None
    return cloudevents.build_headers(
        session=session,
        source=request.get("ce-source", f"/devices/http/{modality}"),
        id=request["ce-id"],
        type=request.get("ce-type", f"braid.media.{modality}.v1"),
        t_us=time_us,
        content_type=request["content-type"],
        extensions=[("ce_duration", request["ce-duration"])] if "ce-duration" in request else [],
    )


@given(SESSIONS, MODALITIES, HEADERS, BODIES)
@example("kitchen", "text", {"content-type": "text/plain", "ce-id": "1", "ce-duration": "abc"}, b"hi")
@example("kitchen", "audio", {"content-type": "audio/pcm;rate=8000", "ce-id": "1"}, bytes(640_000))
@example("kitchen", "text", {"content-type": "text/plain", "ce-id": "1", "ce-type": "braid.session.end.v1"}, b"")
def test_http_accepts_exactly_what_the_aligner_admits(
    session: str, modality: str, request: dict[str, str], body: bytes
) -> None:
    chunk = build_chunk(session, modality, request, body, CONFIG, DeviceDirectory({}), NOW_US)
    verdict = aligner_verdict(session, modality, record_headers(session, modality, request), body)
    if isinstance(chunk, OutgoingChunk):
        assert not isinstance(verdict, Rejected), verdict
        assert not isinstance(aligner_verdict(chunk.session, modality, chunk.headers, chunk.body), Rejected)
    elif isinstance(verdict, SessionEnd):
        assert body, "the aligner ignores the payload of a session end; HTTP accepts none"
    else:
        # The details may differ: the gateway writes the content type that the first bytes show.
        assert isinstance(verdict, Rejected)
        assert chunk.reason is verdict.reason
