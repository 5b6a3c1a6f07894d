"""A camera that goes away and comes back, without one: what the sender does about it."""

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
from services.integrations.capture.source import CaptureSource
from services.runtime.devices import DeviceDirectory
from services.runtime.settings import DeviceSettings

S = 1_000_000
# What each opening brings: pictures before it is lost, or that it cannot be opened.
PLAN = ["3 pictures", "cannot be opened", "2 pictures"]


class Acknowledged:
    """What the broker says of a record."""

    timestamp = 1_700_000_000_000


class Producer:
    """Takes what is sent."""

    def __init__(self) -> None:
        self.sent: list[dict[str, str]] = []

    async def send(self, topic: str, value: bytes, key: bytes, headers: list[tuple[str, bytes]]) -> Any:
        assert key == b"hall", "the settings say where this device belongs"
        self.sent.append({name: raw.decode() for name, raw in headers})
        done: asyncio.Future[Acknowledged] = asyncio.Future()
        done.set_result(Acknowledged())
        return done


class Camera:
    """One opening after another, by the plan."""

    description = "pictures"

    def __init__(self, opening: CaptureSource, *_: Any) -> None:
        self.step = plan.pop(0)
        if self.step == "cannot be opened":
            raise CaptureError(f"{opening.name}: No route to host")

    def items(self) -> Iterator[CapturedItem]:
        for n in range(int(self.step[0])):
            yield CapturedItem(False, n * S, n * S, b"a picture")
        raise SourceLost("it has gone")

    def close(self) -> None:
        closed.append(self.step)


plan: list[str] = []
closed: list[str] = []


def a_sender(producer: Producer, told: list[str], seconds: float) -> Sender:
    opening = CaptureSource("rtsp://porch", "rtsp://porch", True)
    topics = Topics("braid", ("text", "video", "audio"))
    devices = DeviceDirectory({"cam": DeviceSettings(session="hall", clock_offset_ms=-200)})
    return Sender(
        producer, topics, devices, "porch", "cam", opening, CaptureOptions(2, 10_000, 0, seconds), told.append
    )


async def test_a_camera_that_is_lost_is_opened_again_until_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    plan[:], closed[:] = PLAN, []
    monkeypatch.setattr(sender, "CaptureDecoder", Camera)
    monkeypatch.setattr(sender, "RETRY_S", 0)
    monkeypatch.setattr("services.integrations.capture.stream_clock.SETTLED_US", 0)
    producer, told = Producer(), list[str]()
    # The plan runs out: what is not in it raises, and ends the sender as Ctrl-C would.
    with pytest.raises(IndexError):
        await a_sender(producer, told, 60).run()
    assert closed == ["3 pictures", "2 pictures"], "each is let go of"
    kinds = [headers["ce_type"] for headers in producer.sent]
    assert kinds == [cloudevents.media_type("video")] * 5 + [cloudevents.SESSION_END_TYPE]
    for headers in producer.sent:
        earlier = timestamps.parse(headers["ce_recordedtime"]), timestamps.parse(headers["ce_time"])
        assert (earlier[0] or 0) - (earlier[1] or 0) == 200_000
    assert len({headers["ce_id"] for headers in producer.sent}) == 6
    assert [text for text in told if "lost" in text] == [
        "rtsp://porch is lost (it has gone): trying again every 0 s",
        "rtsp://porch is lost (rtsp://porch: No route to host): trying again every 0 s",
        "rtsp://porch is lost (it has gone): trying again every 0 s",
    ]


async def test_a_camera_that_was_never_there_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    plan[:] = ["cannot be opened"]
    monkeypatch.setattr(sender, "CaptureDecoder", Camera)
    producer = Producer()
    with pytest.raises(CaptureError, match="No route to host"):
        await a_sender(producer, [], 60).run()
    assert producer.sent == []
