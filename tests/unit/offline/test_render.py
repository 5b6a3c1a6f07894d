"""Records as readable lines and files, also with untrusted content."""

from __future__ import annotations

import wave
from io import BytesIO
from pathlib import Path

import pytest

from services.contract import tick
from services.contract.dead_letter import Reason, Rejected, make_dead_letter
from services.contract.kafka_record import KafkaRecord, RecordPosition
from services.offline.recording.readable_records import media_file, readable, readable_line
from tests.unit.offline.test_recording_file import JPEG, RECORDS, media


def test_an_image_shows_its_size_and_audio_its_length() -> None:
    assert readable(RECORDS[0])["picture"] == "64x64"
    assert readable(RECORDS[1])["sound"] == "100 ms"
    assert "picture 64x64" in readable_line(readable(RECORDS[0]))
    assert "/devices/d/x#1" in readable_line(readable(RECORDS[0]))


def test_text_and_json_are_shown_as_they_are() -> None:
    assert readable(RECORDS[2])["text"] == "hello"
    ticked = KafkaRecord("t", 0, 0, 5, None, tick.headers(b""), b'{"bounds":{"s":5},"evidence":"tick"}')
    assert readable(ticked)["json"] == {"bounds": {"s": 5}, "evidence": "tick"}


def test_a_dead_letter_shows_its_reason_whatever_the_headers_of_the_rejected_record_say() -> None:
    rejected = Rejected(Reason.PIXELS, "5000x5000 pixels")
    letter = make_dead_letter(RecordPosition("m", 3, 9), "admission", rejected, JPEG, RECORDS[0].headers)
    key, value, headers = letter.encode(b"s")
    shown = readable(KafkaRecord("dead", 0, 0, 5, key, headers, value))
    assert shown["rejected"]["reason"] == "pixels"
    assert "pixels: 5000x5000 pixels (m 3/9)" in readable_line(shown)
    assert readable(KafkaRecord("dead", 0, 0, 5, key, headers, b"{}"))["unreadable"] == "not a dead letter"


@pytest.mark.parametrize(
    ("record", "error"),
    [
        (KafkaRecord("t", 0, 0, -1, None, [], None), "null"),
        (KafkaRecord("t", 0, 0, 5, b"\xff", [("ce_id", b"\xff")], b"x"), "header"),
    ],
)
def test_an_unreadable_value_is_shown_as_unreadable(record: KafkaRecord, error: str) -> None:
    assert readable(record)["unreadable"] == error
    assert error in readable_line(readable(record))


def test_control_characters_are_replaced_in_a_line() -> None:
    evil = media(0, 5, "text/plain", b"one\ntwo\x1b[2J", "text")._replace(key=b"kitchen\r\x1b]0;x\x07")
    assert readable_line(readable(evil)).isprintable()


def test_media_become_files_that_open_under_safe_names() -> None:
    image = media_file(RECORDS[0])
    assert image == ("braid.media.video.v1-0-0.jpg", JPEG)
    audio = media_file(RECORDS[1])
    assert audio is not None
    assert audio[0].endswith(".wav")
    with wave.open(BytesIO(audio[1])) as read:
        assert (read.getframerate(), read.getnchannels(), read.getnframes()) == (8_000, 1, 800)
    stranger = media(0, 5, "../../etc/passwd", b"x", "text")._replace(topic="../../x")
    named = media_file(stranger)
    assert named is not None
    assert Path(named[0]).name == named[0]
    assert media_file(RECORDS[3]) is None
