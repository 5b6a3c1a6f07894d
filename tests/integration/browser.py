"""What tests of the page have around a browser: streams that play, ears for what the page says and asks, pictures."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.async_api import Page

from services.player.play import Schedule, play
from services.player.recording import read
from services.runtime import kafka
from services.runtime.settings import ROOT, Settings

ARTEFACTS = ROOT / "test-artefacts"


@dataclass
class Watch:
    """What a page says and asks while it is open."""

    troubles: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def over(self, page: Page) -> None:
        page.on("console", lambda m: self.troubles.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))


async def streams(settings: Settings, sessions: dict[str, str], from_s: int, seconds: int) -> None:
    """Play recordings in real time, by session."""
    recordings = {one: await asyncio.to_thread(read, ROOT / "data", name) for one, name in sessions.items()}
    now_us = time.time_ns() // 1000
    async with kafka.producer(settings.kafka.bootstrap_servers) as producer:
        await play(producer, settings.topic_names(), recordings, Schedule.live(now_us, from_s, seconds), now_us)


async def keep(page: Page, name: str) -> None:
    ARTEFACTS.mkdir(exist_ok=True)
    await page.screenshot(path=ARTEFACTS / f"{name}.png")
