"""The page message of each kind of record, and records that break the contract."""

from __future__ import annotations

import struct

import pytest

from services.contract import canonical, cloudevents, tick
from services.contract.chunk import Chunk
from services.contract.dead_letter import Reason, Rejected, make_dead_letter
from services.contract.kafka_record import KafkaRecord, RecordPosition
from services.contract.record_fields import ContractError
from services.contract.window import encode_late
from services.gateway import messages
from tests.unit.gateway.records import SECOND_US, START_US, event, media, prediction, record, window

PCM = "audio/pcm;rate=8000;channels=1"


def test_a_text_chunk_has_its_text_and_the_address_of_its_bytes() -> None:
    (message,) = messages.media_messages("text", media(b"hello", session="a room"))
    body = canonical.loads(message.raw)
    assert (message.kind, message.session, body["text"]) == ("chunk", "a room", "hello")
    assert body["media"].startswith("api/v1/media/text/2/0?session=a+room&t_us=")


def test_a_long_text_is_cut_and_a_json_message_shows_only_its_text() -> None:
    (long,) = messages.media_messages("text", media(b"x" * 1_000))
    assert len(canonical.loads(long.raw)["text"]) == messages.TEXT_MAX
    (message,) = messages.media_messages(
        "text", media(b'{"text":"hi","language":"en"}', content_type="application/json")
    )
    assert canonical.loads(message.raw)["text"] == "hi"


def test_an_audio_chunk_has_its_duration_and_its_peaks() -> None:
    loud, quiet = struct.pack("<h", -32_768) * 2_000, bytes(4_000)
    (message,) = messages.media_messages("audio", media(loud + quiet, "audio", PCM))
    body = canonical.loads(message.raw)
    assert body["duration_us"] == message.to_us - message.from_us == 500_000
    assert body["peaks"] == [255] * 10 + [0] * 10


def test_an_alive_record_has_no_address_of_bytes() -> None:
    (message,) = messages.media_messages("video", media(b"", "video", "image/jpeg", kind=cloudevents.ALIVE_TYPE))
    body = canonical.loads(message.raw)
    assert body["alive"] is True
    assert "media" not in body


def test_a_session_end_is_one_message_and_an_idle_record_one_a_session() -> None:
    (end,) = messages.media_messages("text", media(b"", kind=cloudevents.SESSION_END_TYPE))
    assert (end.kind, canonical.loads(end.raw)["source"]) == ("end", "/devices/d/text")
    (value,) = tick.encode({"a": 5, "b": 6}, "tick")
    ticks = list(messages.media_messages("text", record(value, key=None)))
    assert [(t.kind, t.session, t.to_us) for t in ticks] == [("tick", "a", 5), ("tick", "b", 6)]


def test_a_window_message_has_the_states_of_its_streams_and_the_whole_record() -> None:
    message = messages.window_message(window())
    body = canonical.loads(message.raw)
    assert body["modalities"] == {"text": {"state": "absent", "evidence": "data", "count": 0}}
    assert message.full == window().value


def test_a_prediction_message_has_latency_and_event_and_keeps_its_inputs_in_full() -> None:
    latency = b'{"total_ms":3,"parts":[{"key":"queue","ms":3}]}'
    state = canonical.dumps(
        {"chain_us": START_US, "last_us": 1, "scores": [], "events": 2, "open": [0, "dog", 7, 9, 0.5]}
    )
    message = messages.prediction_message(prediction(braid_latency=latency, braid_state=state))
    body = canonical.loads(message.raw)
    assert body["latency"]["total_ms"] == 3
    assert body["event"] == {"id": f"s/{START_US // 1000}-2", "label": "dog", "start": 7, "end": 9}
    assert "inputs" not in body
    assert canonical.loads(message.full or b"")["inputs"]


def test_a_prediction_without_headers_has_no_latency_and_no_event() -> None:
    body = canonical.loads(messages.prediction_message(prediction()).raw)
    assert body["latency"] is body["event"] is None


def test_late_and_dead_letter_messages_name_their_chunk() -> None:
    chunk = Chunk("s", "text", "/d", "1", START_US, 0, "0" * 64, 2, 7, START_US)
    message = messages.late_message(record(encode_late(chunk, (START_US,), 5)))
    assert (message.key, canonical.loads(message.raw)["behind_us"]) == ("text 2 7", 5)
    refused = make_dead_letter(
        RecordPosition("media.text", 2, 8), "admission", Rejected(Reason.FUTURE, "why"), b"x", media().headers
    )
    _, value, headers = refused.encode(None)
    dead = messages.dead_letter_message(KafkaRecord("topic", 0, 0, 1, b"s", headers, value), {"media.text": "text"})
    body = canonical.loads(dead.raw)
    assert (body["modality"], body["at"], body["reason"], body["t_us"]) == ("text", [2, 8], "future", START_US)
    assert dead.from_us == 1_000, "it appears among the newest, however wrong its clock was"


def test_an_event_message_has_the_fields_of_the_step() -> None:
    body = canonical.loads(messages.event_message(event()).raw)
    assert (body["lifecycle"], body["label"], body["end"] - body["start"]) == ("new", "dog", SECOND_US)


@pytest.mark.parametrize(
    "read",
    [
        messages.window_message,
        messages.prediction_message,
        messages.event_message,
        messages.late_message,
        lambda r: messages.dead_letter_message(r, {}),
    ],
    ids=["window", "prediction", "event", "late", "dead"],
)
@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b"{}", b'{"id":1,"session":2,"window":3}'])
def test_a_value_that_breaks_the_contract_is_rejected(read: object, value: bytes | None) -> None:
    assert callable(read)
    with pytest.raises(ContractError):
        read(record(value))


def test_media_without_an_envelope_or_a_session_are_rejected() -> None:
    for bad in (
        record(b"x"),
        record(None),
        KafkaRecord("topic", 0, 0, 0, b"\xff", media().headers, b"x"),
        record(b"x", key=None),
    ):
        with pytest.raises(ContractError):
            list(messages.media_messages("text", bad))
