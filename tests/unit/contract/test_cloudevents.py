"""Conformance of the envelope with the official CloudEvents SDK, in both directions and both modes."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_kafka_event, to_binary_event, to_structured_event
from cloudevents.core.exceptions import CloudEventValidationError
from cloudevents.core.v1.event import CloudEvent

from services.contract import cloudevents, tick
from services.contract.admission import AdmittedChunk, admit
from services.contract.alignment_config import AlignmentConfig, StreamConfig
from services.contract.chunk import SessionEnd
from services.contract.dead_letter import Rejected
from services.contract.kafka_record import Headers
from services.contract.partitioner import partition_of

SESSION, T_US, APPENDED_US = "küche 1", 1_795_514_400_123_456, 1_795_514_400_500_000
WHEN = datetime(2026, 11, 24, 10, 0, 0, 123456, tzinfo=UTC)
JPEG = b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x08\x00\x08\x03" + bytes(32)
SEMANTICS = AlignmentConfig(
    streams={name: StreamConfig(500_000, gapless=False) for name in ("text", "video", "audio", "sensor")},
)
# Every kind of record that a device sends: modality, type, content type, value.
KINDS = {
    "a sentence": ("text", cloudevents.media_type("text"), "text/plain; charset=utf-8", "grüß dich".encode()),
    "a transcript": ("text", cloudevents.media_type("text"), "application/json", b'{"text":"seven","final":true}'),
    "a frame": ("video", cloudevents.media_type("video"), "image/jpeg", JPEG),
    "a sound": ("audio", cloudevents.media_type("audio"), "audio/pcm;rate=8000", bytes(8_000)),
    "a reading": ("sensor", cloudevents.media_type("sensor"), "application/json", b'{"temperature":21.5}'),
    "alive": ("audio", cloudevents.ALIVE_TYPE, "text/plain", b""),
    "the end": ("video", cloudevents.SESSION_END_TYPE, "text/plain", b""),
}
MODES: dict[str, Callable[[BaseCloudEvent], KafkaMessage]] = {
    "binary": to_binary_event,
    "structured": to_structured_event,
}


def headers_of(kind: str) -> list[tuple[str, bytes]]:
    modality, type_, content_type, _ = KINDS[kind]
    return cloudevents.build_headers(
        session=SESSION,
        source=cloudevents.device_source("a", modality),
        id="7",
        type=type_,
        t_us=T_US,
        content_type=content_type,
        extensions=(("ce_sequence", "41"), ("ce_duration", "250.5")),
    )


def admitted(kind: str, headers: Headers, value: bytes) -> AdmittedChunk | SessionEnd:
    key = SESSION.encode()
    found = admit(KINDS[kind][0], partition_of(key, 8), 0, APPENDED_US, key, headers, value, SEMANTICS, 8)
    assert isinstance(found, AdmittedChunk | SessionEnd), found
    return found


def meaning(found: AdmittedChunk | SessionEnd) -> object:
    """All but the bytes of JSON, which the SDK writes anew with white space of its own."""
    if isinstance(found, AdmittedChunk) and found.content_type == "application/json":
        return found.chunk._replace(sha256="", payload_bytes=0), json.loads(found.payload)
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_the_sdk_reads_every_kind_of_record_of_braid(kind: str) -> None:
    modality, type_, content_type, value = KINDS[kind]
    read = from_kafka_event(KafkaMessage(dict(headers_of(kind)), SESSION.encode(), value))
    attributes_read = (read.get_specversion(), read.get_id(), read.get_source(), read.get_type(), read.get_subject())
    assert attributes_read == ("1.0", "7", f"/devices/a/{modality}", type_, SESSION)
    assert (read.get_time(), read.get_datacontenttype()) == (WHEN, content_type)
    assert (read.get_extension("sequence"), read.get_extension("duration")) == ("41", "250.5")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_record_of_the_sdk_is_admitted_like_one_of_braid(kind: str, mode: str) -> None:
    modality, type_, content_type, value = KINDS[kind]
    attributes = {
        "id": "7",
        "source": f"/devices/a/{modality}",
        "type": type_,
        "specversion": "1.0",
        "subject": SESSION,
        "time": WHEN,
        "datacontenttype": content_type,
        "duration": "250.5",
        "sequence": "41",
        "unheardof": "an extension that nobody knows",
    }
    message = MODES[mode](CloudEvent(attributes, value))
    from_sdk = admitted(kind, list(message.headers.items()), message.value or b"")
    assert from_sdk == admitted(kind, headers_of(kind), value)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_record_of_braid_survives_a_round_trip_through_the_sdk(kind: str, mode: str) -> None:
    value = KINDS[kind][3]
    event = from_kafka_event(KafkaMessage(dict(headers_of(kind)), None, value))
    message = MODES[mode](event)
    round_trip = admitted(kind, list(message.headers.items()), message.value or b"")
    assert meaning(round_trip) == meaning(admitted(kind, headers_of(kind), value))


def test_the_sdk_reads_idle_records_and_equal_ones_are_one_event() -> None:
    first, second, other = (next(tick.encode({SESSION: bound}, "tick")) for bound in (5, 5, 6))
    read = [from_kafka_event(KafkaMessage(dict(tick.headers(value)), None, value)) for value in (first, second, other)]
    assert {event.get_type() for event in read} == {tick.TICK_TYPE}
    assert read[0].get_data() == {"bounds": {SESSION: 5}, "evidence": "tick"}
    identities = [(event.get_source(), event.get_id()) for event in read]
    assert identities[0] == identities[1] != identities[2]


@pytest.mark.parametrize("missing", ["ce_specversion", "ce_id", "ce_source", "ce_type"])
def test_a_record_without_a_required_attribute_is_rejected_even_if_the_sdk_would_invent_one(
    missing: str,
) -> None:
    headers = {name: value for name, value in headers_of("a frame") if name != missing}
    key = SESSION.encode()
    found = admit("video", partition_of(key, 8), 0, APPENDED_US, key, list(headers.items()), JPEG, SEMANTICS, 8)
    assert isinstance(found, Rejected)
    if missing in ("ce_source", "ce_type"):  # the SDK makes up the other two
        with pytest.raises(CloudEventValidationError):
            from_kafka_event(KafkaMessage(headers, None, JPEG))
