"""The part of `braid send` that captures: cameras, microphones and videos."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from services.cli import output
from services.contract import cloudevents
from services.integrations.capture.sender import CaptureOptions, SendCounts
from services.integrations.capture.source import CaptureSource
from services.runtime.devices import DeviceDirectory
from services.runtime.settings import Settings


def captured(
    settings: Settings, openings: Sequence[CaptureSource], session: str, device: str, wanted: CaptureOptions
) -> list[dict[str, Any]]:
    """What was sent, side by side, until all have ended or Ctrl-C; of several each has a device name of its own."""
    from services.integrations.capture.decoder import CaptureError

    names = [device if n == 0 else f"{device}-{n + 1}" for n in range(len(openings))]
    for name in names if not session else ():
        of = DeviceDirectory(settings.devices).settings_of(cloudevents.device_source(name, "video"))
        if of is None or not of.session:
            output.fail(f"no session: give --session, or set one for {name} in devices", 2)
    done: list[SendCounts] = []
    try:
        asyncio.run(_capture(settings, dict(zip(names, openings, strict=True)), session, wanted, done))
    except* CaptureError as errors:
        output.fail("; ".join(str(error) for error in errors.exceptions))
    except* KeyboardInterrupt:
        pass
    return [
        {
            "what": s.name,
            "pictures": s.frames,
            "sound_s": round(s.audio_us / 1e6, 1),
            "bytes": s.bytes,
            "lost": s.lost,
        }
        for s in done
    ]


async def _capture(
    settings: Settings, openings: dict[str, CaptureSource], session: str, wanted: CaptureOptions, done: list[SendCounts]
) -> None:
    from services.integrations.capture.sender import Sender
    from services.kafka import clients

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    devices, topics = DeviceDirectory(settings.devices), settings.topic_names()
    async with clients.producer(settings.kafka) as producer, asyncio.TaskGroup() as group:
        for name, one in openings.items():
            sender = Sender(producer, topics, devices, session, name, one, wanted, tell)
            done.append(sender.sent)
            group.create_task(sender.run())
