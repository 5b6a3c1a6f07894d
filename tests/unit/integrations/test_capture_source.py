"""The sources that `braid send` opens, and their names."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.integrations.capture import source_address
from services.integrations.capture.decoder import CaptureDecoder, CaptureError


def test_the_name_of_a_camera_has_no_password_and_no_query() -> None:
    camera = source_address.network_stream("rtsp://me:secret@camera.local:8554/porch?key=hidden")
    assert camera is not None
    assert camera.name == "rtsp://camera.local:8554/porch"
    assert camera.options["rtsp_transport"] == "tcp"
    assert "file" not in camera.options["protocol_whitelist"].split(","), "a camera must not open local files"


@pytest.mark.parametrize(
    "text", ["photo.jpg", "S01", "file:///etc/passwd", "concat:a|b", "rtsp://", "ftp://host/x", "C:\\x"]
)
def test_other_texts_are_no_address_of_a_camera(text: str) -> None:
    assert source_address.network_stream(text) is None


def test_a_video_file_cannot_open_other_places() -> None:
    camera = source_address.media_file(Path("film.MKV"))
    assert camera is not None
    assert camera.options == {"protocol_whitelist": "file"}
    assert source_address.media_file(Path("film.m3u8")) is None


def test_a_file_that_is_not_a_video_is_rejected_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "noise.mp4"
    path.write_bytes(bytes(range(256)) * 40)
    camera = source_address.media_file(path)
    assert camera is not None
    with pytest.raises(CaptureError, match=r"noise\.mp4: Invalid data"):
        CaptureDecoder(camera, 2, 1_000_000)
