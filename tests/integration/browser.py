"""What tests of the page have around a browser: streams that play, ears for what the page says and asks, pictures."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.async_api import Locator, Page

from services.kafka import clients
from services.offline.evaluation.dataset import read
from services.offline.evaluation.player import Schedule, play
from services.runtime.settings import ROOT, Settings

ARTEFACTS = ROOT / "test-artefacts"

# Chips of events whose name stands across their edge: it stands in its chip, or whole behind it.
NAMES_OUT = """() => [...document.querySelectorAll(".event")].filter(chip => {
  const [name, box] = [chip.firstChild.getBoundingClientRect(), chip.getBoundingClientRect()];
  const beside = chip.classList.contains("beside");
  return name.top < box.top - 0.5 || name.bottom > box.bottom + 0.5 || (!beside && name.right > box.right + 0.5);
}).map(chip => chip.title)"""

# How many pixels of a colour of the theme stand above each other on a strip's canvas, where they are the most.
TALLEST = """(session, name) => {
  const paper = document.querySelector(`.strip[data-session="${session}"] .paper`);
  const hex = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const [red, green, blue] = [1, 3, 5].map(at => parseInt(hex.slice(at, at + 2), 16));
  const read = new OffscreenCanvas(paper.width, paper.height).getContext("2d", { willReadFrequently: true });
  read.drawImage(paper, 0, 0);
  const { data } = read.getImageData(0, 0, paper.width, paper.height);
  const columns = new Array(paper.width).fill(0);
  for (let n = 0; n < data.length; n += 4)
    if (data[n] === red && data[n + 1] === green && data[n + 2] === blue && data[n + 3] === 255) columns[(n / 4) % paper.width] += 1;
  return Math.max(...columns);
}"""


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
    async with clients.producer(settings.kafka.bootstrap_servers) as producer:
        await play(producer, settings.topic_names(), recordings, Schedule.live(now_us, from_s, seconds), now_us)


async def keep(page: Page, name: str) -> None:
    ARTEFACTS.mkdir(exist_ok=True)
    await page.screenshot(path=ARTEFACTS / f"{name}.png")


async def pointed(page: Page, strip: Locator, modality: str) -> list[str]:
    """What a pointer is told that goes along a lane."""
    view = strip.locator(".view")
    box, lane = await view.bounding_box(), await strip.locator(f".gutter .lane.m-{modality}").bounding_box()
    assert box is not None
    assert lane is not None
    told = []
    for n in range(1, 20):
        await page.mouse.move(box["x"] + box["width"] * n / 20, lane["y"] + lane["height"] / 2)
        told.append(await view.get_attribute("title") or "")
    return told
