"""What `braid send` opens and how people are told of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.integrations.capture import source
from services.integrations.capture.decoder import CaptureDecoder, CaptureError


def test_the_name_of_a_camera_has_no_password_and_no_query() -> None:
    found = source.network_stream("rtsp://me:secret@camera.local:8554/porch?key=hidden")
    assert found is not None
    assert found.name == "rtsp://camera.local:8554/porch"
    assert found.options["rtsp_transport"] == "tcp"
    assert "file" not in found.options["protocol_whitelist"].split(","), "a camera may not name files of ours"


@pytest.mark.parametrize(
    "word", ["photo.jpg", "S01", "file:///etc/passwd", "concat:a|b", "rtsp://", "ftp://host/x", "C:\\x"]
)
def test_no_other_word_is_an_address(word: str) -> None:
    assert source.network_stream(word) is None


def test_a_video_may_lead_to_no_other_place() -> None:
    found = source.media_file(Path("film.MKV"))
    assert found is not None
    assert found.options == {"protocol_whitelist": "file"}
    assert source.media_file(Path("film.m3u8")) is None


def test_a_file_that_is_no_video_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    path.write_bytes(bytes(range(256)) * 40)
    found = source.media_file(path)
    assert found is not None
    with pytest.raises(CaptureError, match=r"noise\.mp4: Invalid data"):
        CaptureDecoder(found, 2, 1_000_000)
