"""A camera that is lost and comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from services.contract import cloudevents, timestamps
from services.contract.topics import Topics
from services.integrations.capture import sender
from services.integrations.capture.decoder import CapturedItem, CaptureError, SourceLost
from services.integrations.capture.sender import CaptureOptions, Sender
from services.integrations.capture.source_address import CaptureSource
from services.runtime.device_directory import DeviceDirectory
from services.runtime.settings import DeviceSettings

S = 1_000_000
# What each attempt to open brings: frames before the source is lost, or an error.
ATTEMPTS = ["3 pictures", "cannot be opened", "2 pictures"]


class Acknowledged:
    """The metadata of a sent record."""

    timestamp = 1_700_000_000_000


class Producer:
    """Collects what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, str]] = []

    async def send(self, topic: str, value: bytes, key: bytes, headers: list[tuple[str, bytes]]) -> Any:
        assert key == b"hall", "the settings give this device another session"
        self.sent.append({name: raw.decode() for name, raw in headers})
        done: asyncio.Future[Acknowledged] = asyncio.Future()
        done.set_result(Acknowledged())
        return done


class Camera:
    """A source whose attempts to open end as `attempts` says."""

    description = "pictures"

    def __init__(self, opening: CaptureSource, *_: Any) -> None:
        self.step = attempts.pop(0)
        if self.step == "cannot be opened":
            raise CaptureError(f"{opening.name}: No route to host")

    def items(self) -> Iterator[CapturedItem]:
        for n in range(int(self.step[0])):
            yield CapturedItem(False, n * S, n * S, b"a picture")
        raise SourceLost("it has gone")

    def close(self) -> None:
        closed.append(self.step)


attempts: list[str] = []
closed: list[str] = []


def make_sender(producer: Producer, reports: list[str], seconds: float) -> Sender:
    opening = CaptureSource("rtsp://porch", "rtsp://porch", True)
    topics = Topics("braid", ("text", "video", "audio"))
    devices = DeviceDirectory({"cam": DeviceSettings(session="hall", clock_offset_ms=-200)})
    return Sender(
        producer, topics, devices, "porch", "cam", opening, CaptureOptions(2, 10_000, 0, seconds), reports.append
    )


async def test_a_lost_camera_is_opened_again_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts[:], closed[:] = ATTEMPTS, []
    monkeypatch.setattr(sender, "CaptureDecoder", Camera)
    monkeypatch.setattr(sender, "RETRY_S", 0)
    monkeypatch.setattr("services.integrations.capture.stream_clock.SETTLED_US", 0)
    producer, reports = Producer(), list[str]()
    # When the attempts run out, pop raises and ends the sender as Ctrl-C would.
    with pytest.raises(IndexError):
        await make_sender(producer, reports, 60).run()
    assert closed == ["3 pictures", "2 pictures"], "each is closed"
    kinds = [headers["ce_type"] for headers in producer.sent]
    assert kinds == [cloudevents.media_type("video")] * 5 + [cloudevents.SESSION_END_TYPE]
    for headers in producer.sent:
        earlier = timestamps.parse(headers["ce_recordedtime"]), timestamps.parse(headers["ce_time"])
        assert (earlier[0] or 0) - (earlier[1] or 0) == 200_000
    assert len({headers["ce_id"] for headers in producer.sent}) == 6
    assert [text for text in reports if "lost" in text] == [
        "rtsp://porch is lost (it has gone): trying again every 0 s",
        "rtsp://porch is lost (rtsp://porch: No route to host): trying again every 0 s",
        "rtsp://porch is lost (it has gone): trying again every 0 s",
    ]


async def test_a_camera_that_cannot_be_opened_at_first_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts[:] = ["cannot be opened"]
    monkeypatch.setattr(sender, "CaptureDecoder", Camera)
    producer = Producer()
    with pytest.raises(CaptureError, match="No route to host"):
        await make_sender(producer, [], 60).run()
    assert producer.sent == []
