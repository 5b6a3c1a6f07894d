"""The part of `braid send` that captures: cameras, microphones and videos."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from services.cli import output
from services.contract import cloudevents
from services.integrations.capture.sender import Sent, Wanted
from services.integrations.capture.source import Opening
from services.integrations.devices import Devices
from services.runtime.settings import Settings


def captured(
    settings: Settings, openings: Sequence[Opening], session: str, device: str, wanted: Wanted
) -> list[dict[str, Any]]:
    """What was sent, side by side, until all have ended or Ctrl-C; of several each has a device name of its own."""
    from services.integrations.capture.decoder import CaptureError

    names = [device if n == 0 else f"{device}-{n + 1}" for n in range(len(openings))]
    for name in names if not session else ():
        of = Devices(settings.devices).of(cloudevents.source_of(name, "video"))
        if of is None or not of.session:
            output.fail(f"no session: give --session, or set one for {name} in devices", 2)
    done: list[Sent] = []
    try:
        asyncio.run(_capture(settings, dict(zip(names, openings, strict=True)), session, wanted, done))
    except* CaptureError as errors:
        output.fail("; ".join(str(error) for error in errors.exceptions))
    except* KeyboardInterrupt:
        pass
    return [
        {
            "what": s.name,
            "pictures": s.pictures,
            "sound_s": round(s.sound_us / 1e6, 1),
            "bytes": s.bytes,
            "lost": s.lost,
        }
        for s in done
    ]


async def _capture(
    settings: Settings, openings: dict[str, Opening], session: str, wanted: Wanted, done: list[Sent]
) -> None:
    from services.integrations.capture.sender import Sender
    from services.kafka import clients

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    devices, topics = Devices(settings.devices), settings.topic_names()
    async with clients.producer(settings.kafka) as producer, asyncio.TaskGroup() as group:
        for name, one in openings.items():
            sender = Sender(producer, topics, devices, session, name, one, wanted, tell)
            done.append(sender.sent)
            group.create_task(sender.run())
