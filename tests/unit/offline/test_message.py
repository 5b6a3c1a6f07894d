"""Records as messages of a recording: readable by other tools, and decoded to the same bytes."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract import canonical, cloudevents, tick
from services.contract.kafka_record import KafkaRecord
from services.offline.recording.message import AUDIO, IMAGE, RECORD, NotKept, decode, encode

TOPIC = "braid.media.video.v1"
JPEG = b"\xff\xd8 not decoded here"
NAMES = st.text(st.characters(codec="utf-8"), max_size=12)


def headers(content_type: str) -> list[tuple[str, bytes]]:
    return cloudevents.build_headers(
        session="s",
        source="/devices/d/video",
        id="1",
        type="braid.media.video.v1",
        t_us=1_700_000_000_123_456,
        content_type=content_type,
    )


@given(
    st.none() | st.binary(max_size=40),
    st.lists(st.tuples(NAMES, st.none() | st.binary(max_size=20)), max_size=4),
    st.none() | st.binary(max_size=60) | st.text(st.characters(codec="utf-8")).map(str.encode),
    st.integers(-1, 1 << 50),
)
def test_any_record_is_decoded_as_it_was(
    key: bytes | None, given_headers: list[tuple[str, bytes]], value: bytes | None, timestamp: int
) -> None:
    record = KafkaRecord(TOPIC, 3, 70_000_000_000, timestamp, key, given_headers, value)
    assert decode(encode(record).data) == record


@given(st.sampled_from(["image/jpeg", "audio/pcm;rate=8000", "text/plain", "application/json", ""]), st.binary())
def test_media_of_any_type_are_decoded_as_they_were(content_type: str, value: bytes) -> None:
    record = KafkaRecord(TOPIC, 0, 0, 5, b"s", headers(content_type), value)
    assert decode(encode(record).data) == record


@pytest.mark.parametrize(
    "value", [b'{"b":1,"a":2}', b'{"a": 1}', b'{"a":1.0}', b'{"a":1e2}', b'{"a":"\\u0041"}', b'{"a":1,"a":1}', b"{"]
)
def test_json_that_is_not_canonical_keeps_its_bytes(value: bytes) -> None:
    record = KafkaRecord(TOPIC, 0, 0, 5, None, [], value)
    assert decode(encode(record).data).value == value


def test_braid_records_are_json_objects() -> None:
    value = next(tick.encode({"kitchen": 5}, "tick"))
    fields = json.loads(encode(KafkaRecord(TOPIC, 0, 0, 5, None, tick.headers(value), value)).data)
    assert fields["json"] == {"bounds": {"kitchen": 5}, "evidence": "tick"}
    assert canonical.dumps(fields["json"]) == value


def test_an_image_has_the_schema_that_foxglove_shows() -> None:
    message = encode(KafkaRecord(TOPIC, 0, 0, 5, b"s", headers("image/jpeg"), JPEG))
    fields = json.loads(message.data)
    assert message.form == IMAGE
    assert fields["timestamp"] == {"sec": 1_700_000_000, "nsec": 123_456_000}
    assert (fields["format"], fields["frame_id"]) == ("jpeg", "/devices/d/video")
    assert base64.b64decode(fields["data"]) == JPEG


def test_pcm_has_the_schema_that_foxglove_plays_and_other_audio_is_unchanged() -> None:
    fields = json.loads(encode(KafkaRecord(TOPIC, 0, 0, 5, b"s", headers("audio/pcm;rate=8000"), bytes(800))).data)
    assert (fields["format"], fields["sample_rate"], fields["number_of_channels"]) == ("pcm-s16", 8_000, 1)
    assert encode(KafkaRecord(TOPIC, 0, 0, 5, b"s", headers("audio/pcm;rate=8000"), bytes(801))).form == RECORD
    assert encode(KafkaRecord(TOPIC, 0, 0, 5, b"s", headers("audio/pcm;rate=8000"), bytes(800))).form == AUDIO


def test_structured_mode_keeps_the_whole_event_as_its_value() -> None:
    event = canonical.dumps({"id": "1", "datacontenttype": "image/jpeg", "data_base64": "/9g="})
    record = KafkaRecord(TOPIC, 0, 0, 5, b"s", [("content-type", cloudevents.STRUCTURED.encode())], event)
    message = encode(record)
    assert message.form == RECORD
    assert decode(message.data) == record


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"record":{}}', b"null", b"\xff"])
def test_a_foreign_message_is_rejected(raw: bytes) -> None:
    with pytest.raises(NotKept):
        decode(raw)
