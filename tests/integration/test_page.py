"""The live page in a real browser."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ViewportSize, async_playwright, expect

from services.contract import timestamps
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import ROOT, Settings
from tests.integration import session
from tests.integration.browser import MISPLACED_NAMES, TALLEST, hover_titles, open_page, screenshot, streams
from tests.integration.gateway import Gateway

DESK: ViewportSize = {"width": 1280, "height": 800}
TALL: ViewportSize = {"width": 1280, "height": 2400}
PHONE: ViewportSize = {"width": 360, "height": 740}
# The bar that shows whether a modality is present is four pixels high; a waveform is higher.
TALL_PX = 5
# Run by Python at its start: the clock of the process is as many seconds behind as a file says.
CLOCK_BEHIND = """
import pathlib, time
seconds, now_ns = pathlib.Path(__file__).with_name("seconds"), time.time_ns
if seconds.exists():
    behind_ns = int(seconds.read_text()) * 1_000_000_000
    time.time_ns = lambda: now_ns() - behind_ns
    time.time = lambda: time.time_ns() / 1e9
"""
IN_VIEW = """cell => {
  const [box, view] = [cell.getBoundingClientRect(), cell.closest(".viewport").getBoundingClientRect()];
  return box.left >= view.left - 1 && box.right <= view.right + 1;
}"""


@pytest.fixture(scope="module")
async def gateway(stack: LocalStack, services: dict[str, ServiceProcess]) -> AsyncIterator[Gateway]:
    """A gateway that lists only the sessions of this module."""
    gateway = await Gateway(stack, 3, BRAID_GATEWAY__LOOK_BACK_S="0").start()
    yield gateway
    assert await gateway.process.child.stop() == 0


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium: nothing is downloaded."""
    chromium = shutil.which("chromium")
    assert chromium, "no chromium on the PATH: `apt-get install chromium`"
    async with async_playwright() as playwright:
        # Tests run as root in containers, where Chromium's sandbox cannot start.
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield browser
        await browser.close()


async def post_text(gateway: Gateway, session: str, seconds_ago: float = 0) -> None:
    """Post a text that was captured some time ago."""
    captured = timestamps.format_us(time.time_ns() // 1000 - round(seconds_ago * 1e6))
    path = f"api/v1/sessions/{session}/text"
    response = await gateway.request(path, b"number one", content_type="text/plain", ce_time=captured)
    assert response.status == 202, response.body


async def test_a_stream_plays_and_predictions_appear_with_their_explanation(
    gateway: Gateway, browser: Browser, settings: Settings
) -> None:
    async with open_page(browser, gateway.url, DESK) as (page, log):
        await expect(page.locator("#empty")).to_contain_text("No data yet")
        playing = asyncio.create_task(streams(settings, {"kitchen": "S05", "hall": "S02"}, 34, 24))
        view = page.locator('.session[data-session="kitchen"]')
        final = view.locator(".cell.final:not(.nothing)")
        for selector in (".cell.early", ".event", ".stream .frame img", ".stream .text", ".current .latency .part"):
            await expect(view.locator(selector).first).to_be_attached()
        await expect(final.first).to_be_attached()
        for state in ("present", "absent", "unknown"):
            summary = re.compile(rf"^Visible windows: .*[1-9]\d* {state}")
            await expect(view.locator(".canvas")).to_have_attribute("aria-label", summary)
        for color in ("audio", "prediction"):
            await page.wait_for_function(f"() => ({TALLEST})('kitchen', '{color}') > {TALL_PX}")
        await expect(page.locator("#list li.live")).to_have_count(2)
        await playing
        await screenshot(page, "page-light")
        await page.wait_for_function(f"() => ({MISPLACED_NAMES})().length === 0")
        ended = page.locator(".event.final.ended")
        await expect(ended.nth(2)).to_be_attached()
        titles = await ended.evaluate_all("chips => chips.map(chip => chip.title)")
        await page.reload()
        for title in titles:
            await expect(page.locator(f'.event.final.ended[title="{title}"]')).to_have_count(1)
        await page.locator("#list a", has_text="kitchen").click()
        await expect(page.locator(".session.focus")).to_have_count(1)
        titles = await hover_titles(page, view, "audio")
        assert any("audio from " in title and "\naudio present in the window up to " in title for title in titles), (
            titles
        )
        await final.first.focus()
        await page.keyboard.press("ArrowRight")
        await page.keyboard.press("Enter")
        panel = page.locator("#explanation")
        await expect(panel).to_be_visible()
        await expect(panel.locator("h2")).not_to_be_empty()
        for title in ("Contribution of each modality", "Inputs", "Latency", "Reproduce"):
            await expect(panel.locator("h3", has_text=title)).to_be_visible()
        widths = await panel.locator(".latency .part").evaluate_all("parts => parts.map(part => +part.style.flexGrow)")
        total_ms = await page.evaluate(
            "async id => (await (await fetch('api/v1/predictions/' + id)).json()).prediction.latency.total_ms",
            (await panel.locator(".id").first.inner_text()),
        )
        assert sum(widths) == pytest.approx(total_ms, abs=0.01), "the bar is as long as its parts"
        await page.emulate_media(color_scheme="dark")
        await screenshot(page, "why-dark")
        await page.keyboard.press("Escape")
        await expect(panel).to_be_hidden()
        assert log.errors == []
        assert log.hosts == {urlsplit(gateway.url).netloc}, "the page sends requests to its gateway only"


async def test_an_explanation_shows_frames_plays_audio_and_takes_a_label(
    gateway: Gateway, browser: Browser, settings: Settings, hand: bytes
) -> None:
    await session.play_session(settings, "both", hand)
    async with open_page(browser, f"{gateway.url}#both", DESK) as (page, log):
        final = page.locator(".cell.final")
        await expect(final).to_have_count(11)
        await final.nth(5).focus()
        await page.keyboard.press("Enter")
        panel = page.locator("#explanation")
        await expect(panel.locator("blockquote").first).to_contain_text("number")
        image = panel.locator(".frames img").first
        await expect(image).to_have_js_property("complete", True)
        assert await image.evaluate("image => image.naturalWidth") > 0
        await expect(panel.locator(".counterfactuals tr")).to_have_count(7)
        await expect(panel.locator(".counterfactuals th").first).to_have_text("without text")
        play_button = panel.locator(".audio .play")
        await play_button.click()
        await expect(play_button).to_have_text("■ Stop")
        await expect(play_button).to_have_text("▶ Play")
        await panel.get_by_label("Correct label").fill("kettle")
        await panel.get_by_role("button", name="Save label").click()
        await expect(panel.get_by_role("status")).to_have_text("Saved: kettle.")
        assert log.errors == []


async def test_ten_live_sessions_are_shown_together(
    stack: LocalStack, services: dict[str, ServiceProcess], browser: Browser, settings: Settings
) -> None:
    # A gateway that has seen no other session: the page shows at most ten.
    gateway = await Gateway(stack, 7, BRAID_GATEWAY__LOOK_BACK_S="0").start()
    sessions = {f"room {n}": f"S{n % 8 + 1:02d}" for n in range(10)}
    try:
        async with open_page(browser, gateway.url, TALL) as (page, log):
            await streams(settings, sessions, 40, 6)
            for name in sessions:
                view = page.locator(f'.session[data-session="{name}"]')
                await expect(view.locator(".cell.final").first).to_be_attached()
            await expect(page.locator(".session")).to_have_count(10)
            assert log.errors == []
    finally:
        await gateway.process.child.stop()


async def test_a_focused_prediction_keeps_the_focus_and_stays_in_view_while_newer_ones_arrive(
    gateway: Gateway, browser: Browser
) -> None:
    await post_text(gateway, "keyboard", seconds_ago=60)
    async with open_page(browser, f"{gateway.url}#keyboard", DESK) as (page, _):
        cell = await page.wait_for_selector(".cell", state="attached")
        assert cell is not None
        await cell.focus()
        await post_text(gateway, "keyboard")
        await page.wait_for_function(
            "cell => [...document.querySelectorAll('.cell')].some(other => other.us > cell.us + 30e6)", arg=cell
        )
        await expect(page.locator(".text")).to_have_count(2)
        assert await cell.evaluate("cell => cell === document.activeElement")
        assert await cell.evaluate(IN_VIEW)
        await page.keyboard.press("Enter")
        await expect(page.locator("#explanation h2")).to_be_visible()
        await page.keyboard.press("Escape")
        assert await cell.evaluate("cell => cell === document.activeElement")
        await page.locator("#find").focus()
        await page.wait_for_function("cell => cell.hidden", arg=cell)


async def test_the_focus_moves_to_the_next_prediction_when_the_focused_one_is_removed(
    gateway: Gateway, browser: Browser
) -> None:
    await post_text(gateway, "long", seconds_ago=500)
    async with open_page(browser, f"{gateway.url}#long", DESK) as (page, _):
        cell = await page.wait_for_selector(".cell", state="attached")
        assert cell is not None
        await cell.focus()
        await post_text(gateway, "long")
        await page.wait_for_function("cell => !cell.isConnected", arg=cell)
        await expect(page.locator(".cell:focus")).to_have_count(1)


async def test_five_hundred_sessions_are_listed_and_one_is_found(gateway: Gateway, browser: Browser) -> None:
    at_once = asyncio.Semaphore(20)

    async def post(n: int) -> None:
        async with at_once:
            await post_text(gateway, f"site-{n:03d}")

    await asyncio.gather(*(post(n) for n in range(500)))
    async with open_page(browser, gateway.url, DESK) as (page, _):
        await expect(page.locator("#list li", has_text="site-")).to_have_count(500)
        await expect(page.locator(".session")).to_have_count(10)
        await page.keyboard.press("/")
        await page.keyboard.type("site-123")
        await expect(page.locator("#list li:visible")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_it_without_scrolling_sideways(
    scheme: Literal["light", "dark"], gateway: Gateway, browser: Browser, settings: Settings
) -> None:
    await streams(settings, {"phone": "S05"}, 44, 4)
    async with open_page(browser, f"{gateway.url}#phone", PHONE, scheme) as (page, _):
        await page.wait_for_selector(".cell:not([hidden])")
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
        await screenshot(page, f"phone-{scheme}")
        # The oldest predictions may have left the view.
        await page.locator(".cell:not([hidden])").first.focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#explanation")).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
        await screenshot(page, f"phone-why-{scheme}")
        for _ in range(30):
            await page.keyboard.press("Tab")
            outside = await page.evaluate("!document.activeElement.closest('main, nav')")
            assert outside, "the Tab key reaches what the explanation covers"
        await page.keyboard.press("Escape")
        await expect(page.locator(".cell:focus")).to_have_count(1)


async def test_the_page_reconnects_after_the_gateway_was_killed_and_says_whose_clock_is_wrong(
    stack: LocalStack, services: dict[str, ServiceProcess], browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(CLOCK_BEHIND)
    gateway = await Gateway(stack, 4, BRAID_GATEWAY__LOOK_BACK_S="0", PYTHONPATH=str(tmp_path)).start()
    path = "api/v1/sessions/again/text"
    try:
        async with open_page(browser, f"{gateway.url}#again", DESK) as (page, _):
            await post_text(gateway, "again")
            words = page.locator('.session[data-session="again"] .text')
            await expect(words).to_have_count(1)
            gateway.process.child.kill()
            await expect(page.locator("#connection")).to_have_text("reconnecting")
            await gateway.start()
            await gateway.request(path, b"number two", content_type="text/plain")
            await expect(words.last).to_have_text("number two")
            await expect(page.locator("#connection")).to_have_text("live")

            ahead = timestamps.format_us(time.time_ns() // 1000 + 55_000_000)
            source = "/devices/ahead/text"
            rejected = await gateway.request(path, b"3", content_type="text/plain", ce_time=ahead, ce_source=source)
            assert rejected.status == 422
            row = page.locator("#details tr", has_text=source)
            await expect(row.locator("td.problem")).to_have_text(re.compile(r"^clock 5\d s ahead$"))
            await expect(page.locator("#details p.problem")).to_contain_text("clock: arrival")
            await expect(page.locator("#problems")).to_be_hidden()
            gateway.process.child.kill()
            (tmp_path / "seconds").write_text("10")
            await gateway.start()
            await gateway.request(path, b"number four", content_type="text/plain")
            await expect(page.locator("#problems")).to_contain_text("Kafka's clock and this machine's differ")
    finally:
        await gateway.process.child.stop()


def test_the_page_is_plain_files_that_name_no_other_host() -> None:
    page = ROOT / "services" / "gateway" / "page"
    for path in page.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, path
        assert "https://" not in text, path
        assert "innerHTML" not in text, path
