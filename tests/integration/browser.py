"""The browser of the page's tests: open pages, play streams, read the canvas, take screenshots."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from playwright.async_api import Browser, Locator, Page, ViewportSize, expect

from services.kafka import clients
from services.offline.evaluation.dataset import read_stream
from services.offline.evaluation.kafka_player import PlaybackSchedule, play_streams
from services.runtime.settings import ROOT, Settings
from tests.waiting import DEADLINE_MS

ARTEFACTS = ROOT / "test-artefacts"

# The titles of events whose label crosses the edge of its box.
MISPLACED_NAMES = """() => [...document.querySelectorAll(".event")].filter(chip => {
  const [name, box] = [chip.firstChild.getBoundingClientRect(), chip.getBoundingClientRect()];
  const outside = chip.classList.contains("outside");
  return name.top < box.top - 0.5 || name.bottom > box.bottom + 0.5 || (!outside && name.right > box.right + 0.5);
}).map(chip => chip.title)"""

# The most pixels of a theme colour in one column of a session's canvas.
TALLEST = """(session, name) => {
  const canvas = document.querySelector(`.session[data-session="${session}"] .canvas`);
  const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const [red, green, blue] = [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16));
  const read = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
  read.drawImage(canvas, 0, 0);
  const { data } = read.getImageData(0, 0, canvas.width, canvas.height);
  const columns = new Array(canvas.width).fill(0);
  for (let n = 0; n < data.length; n += 4)
    if (data[n] === red && data[n + 1] === green && data[n + 2] === blue && data[n + 3] === 255) columns[(n / 4) % canvas.width] += 1;
  return Math.max(...columns);
}"""


# No test asserts how soon the page does something.
expect.set_options(timeout=DEADLINE_MS)


@dataclass
class PageLog:
    """The errors and warnings of a page, and the hosts that it sent requests to."""

    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def follow(self, page: Page) -> None:
        page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))


@asynccontextmanager
async def open_page(
    browser: Browser, url: str, size: ViewportSize, scheme: Literal["light", "dark"] = "light"
) -> AsyncIterator[tuple[Page, PageLog]]:
    """Open a page in a context of its own, and close it afterwards."""
    context = await browser.new_context(viewport=size, color_scheme=scheme)
    context.set_default_timeout(DEADLINE_MS)
    try:
        page, log = await context.new_page(), PageLog()
        log.follow(page)
        await page.goto(url)
        yield page, log
    finally:
        await context.close()


async def streams(settings: Settings, sessions: dict[str, str], from_s: int, seconds: int) -> None:
    """Play a recording in real time for each session."""
    recordings = {
        session: await asyncio.to_thread(read_stream, ROOT / "data", name) for session, name in sessions.items()
    }
    now_us = time.time_ns() // 1000
    async with clients.producer(settings.kafka.bootstrap_servers) as producer:
        await play_streams(
            producer, settings.topic_names(), recordings, PlaybackSchedule.live(now_us, from_s, seconds), now_us
        )


async def screenshot(page: Page, name: str) -> None:
    """Save a screenshot of the page for people to look at."""
    ARTEFACTS.mkdir(exist_ok=True)
    await page.screenshot(path=ARTEFACTS / f"{name}.png")


async def hover_titles(page: Page, session: Locator, modality: str) -> list[str]:
    """Move the pointer along a stream and return the titles that it shows."""
    view = session.locator(".viewport")
    box, row = await view.bounding_box(), await session.locator(f".gutter .stream.m-{modality}").bounding_box()
    assert box is not None
    assert row is not None
    titles = []
    for n in range(1, 20):
        await page.mouse.move(box["x"] + box["width"] * n / 20, row["y"] + row["height"] / 2)
        titles.append(await view.get_attribute("title") or "")
    return titles
