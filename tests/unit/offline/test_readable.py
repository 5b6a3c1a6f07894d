"""Records as people read them, whatever a stranger put into them."""

from __future__ import annotations

import wave
from io import BytesIO
from pathlib import Path

import pytest

from services.contract import tick
from services.contract.record import KafkaRecord
from services.offline.recording.render import file_of, line, tell
from tests.unit.offline.test_file import JPEG, RECORDS, media


def test_a_picture_tells_its_size_and_a_sound_its_length() -> None:
    assert tell(RECORDS[0])["picture"] == "64x64"
    assert tell(RECORDS[1])["sound"] == "100 ms"
    assert "picture 64x64" in line(tell(RECORDS[0]))
    assert "/devices/d/x#1" in line(tell(RECORDS[0]))


def test_text_and_json_stand_there_as_they_are() -> None:
    assert tell(RECORDS[2])["text"] == "hello"
    ticked = KafkaRecord("t", 0, 0, 5, None, tick.headers(b""), b'{"bounds":{"s":5},"evidence":"tick"}')
    assert tell(ticked)["json"] == {"bounds": {"s": 5}, "evidence": "tick"}


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (KafkaRecord("t", 0, 0, -1, None, [], None), "null"),
        (KafkaRecord("t", 0, 0, 5, b"\xff", [("ce_id", b"\xff")], b"x"), "header"),
    ],
)
def test_what_cannot_be_read_says_so(kept: KafkaRecord, told: str) -> None:
    assert tell(kept)["unreadable"] == told
    assert told in line(tell(kept))


def test_a_line_stays_a_line_and_moves_no_cursor() -> None:
    evil = media(0, 5, "text/plain", b"one\ntwo\x1b[2J", "text")._replace(key=b"kitchen\r\x1b]0;x\x07")
    assert line(tell(evil)).isprintable()


def test_media_become_files_that_open_under_names_of_ours() -> None:
    picture = file_of(RECORDS[0])
    assert picture == ("braid.media.video.v1-0-0.jpg", JPEG)
    sound = file_of(RECORDS[1])
    assert sound is not None
    assert sound[0].endswith(".wav")
    with wave.open(BytesIO(sound[1])) as read:
        assert (read.getframerate(), read.getnchannels(), read.getnframes()) == (8_000, 1, 800)
    stranger = media(0, 5, "../../etc/passwd", b"x", "text")._replace(topic="../../x")
    named = file_of(stranger)
    assert named is not None
    assert Path(named[0]).name == named[0]
    assert file_of(RECORDS[3]) is None
