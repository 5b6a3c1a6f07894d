"""The live page in a real browser: a recorded stream plays, answers appear, why opens, and nothing else is asked."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ViewportSize, async_playwright, expect

from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import ROOT, Settings
from tests.integration import session
from tests.integration.browser import NAMES_OUT, TALLEST, Watch, keep, pointed, streams
from tests.integration.gateway import Gateway

DESK: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 360, "height": 740}
WITHIN_MS = 60_000
# Of one frame's 16.7 ms, over ten sessions: scripts, and all that the page's thread does, layout and painting too.
SCRIPT_MS_MAX, TASKS_MS_MAX = 6.0, 14.0
# The bar of a mask is four high; a sound stands above it.
TALL_PX = 5


@pytest.fixture(scope="module")
async def gateway(stack: LocalStack, services: dict[str, ServiceProcess]) -> AsyncIterator[Gateway]:
    """A gateway of its own, so that the list holds what this module plays."""
    found = await Gateway(stack, 3, BRAID_GATEWAY__LOOK_BACK_S="0").start()
    yield found
    assert await found.process.child.stop() == 0


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    """The system's own chromium: nothing is downloaded."""
    chromium = shutil.which("chromium")
    assert chromium, "no chromium on the PATH: `apt-get install chromium` (README, Two commands)"
    async with async_playwright() as playwright:
        # Tests run as root in containers, where chromium's own sandbox cannot start.
        found = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield found
        await found.close()


async def test_a_stream_plays_answers_appear_and_why_opens(
    gateway: Gateway, browser: Browser, settings: Settings
) -> None:
    context = await browser.new_context(viewport=DESK, color_scheme="light")
    page, watch = await context.new_page(), Watch()
    watch.over(page)
    await page.goto(gateway.url)
    await expect(page.locator("#empty")).to_contain_text("Nothing is heard yet")
    playing = asyncio.create_task(streams(settings, {"kitchen": "S05", "hall": "S02"}, 34, 24))
    strip = page.locator('.strip[data-session="kitchen"]')
    final = strip.locator(".cell.final:not(.nothing)")
    await expect(strip.locator(".cell.early").first).to_be_attached(timeout=WITHIN_MS)
    await expect(final.first).to_be_attached(timeout=WITHIN_MS)
    await expect(strip.locator(".event").first).to_be_attached(timeout=WITHIN_MS)
    await expect(strip.locator(".lane .frame img").first).to_be_attached(timeout=WITHIN_MS)
    await expect(strip.locator(".lane .words").first).to_be_attached(timeout=WITHIN_MS)
    paper = strip.locator(".paper")
    for state in ("present", "absent", "unknown"):
        in_words = re.compile(rf"^Windows in sight: .*[1-9]\d* {state}")
        await expect(paper).to_have_attribute("aria-label", in_words, timeout=WITHIN_MS)
    for colour in ("audio", "answer"):
        await page.wait_for_function(f"() => ({TALLEST})('kitchen', '{colour}') > {TALL_PX}", timeout=WITHIN_MS)
    await expect(strip.locator(".now .latency .part").first).to_be_attached()
    await expect(page.locator("#list li.live")).to_have_count(2)
    await playing
    await keep(page, "page-light")
    await page.wait_for_function(f"() => ({NAMES_OUT})().length === 0", timeout=WITHIN_MS)
    ended = page.locator(".event.final.ended")
    await expect(ended.nth(2)).to_be_attached(timeout=WITHIN_MS)
    titles = await ended.evaluate_all("chips => chips.map(chip => chip.title)")
    await page.reload()
    for title in titles:
        await expect(page.locator(f'.event.final.ended[title="{title}"]')).to_have_count(1, timeout=WITHIN_MS)
    await page.locator("#list a", has_text="kitchen").click()
    await expect(page.locator(".strip.focus")).to_have_count(1)
    titles = await pointed(page, strip, "audio")
    assert any("audio from " in title and "\naudio present by " in title for title in titles), titles
    await final.first.focus()
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Enter")
    why = page.locator("#why")
    await expect(why).to_be_visible()
    await expect(why.locator("h2")).not_to_be_empty()
    for told in ("What each sense added", "What it saw and heard", "Where the time went", "Make it again"):
        await expect(why.locator("h3", has_text=told)).to_be_visible()
    parts = [float(ms) for ms in await why.locator(".latency .part").evaluate_all("p => p.map(e => e.style.flexGrow)")]
    total = await page.evaluate(
        "async id => (await (await fetch('api/v1/predictions/' + id)).json()).prediction.latency.total_ms",
        (await why.locator(".id").first.inner_text()),
    )
    assert sum(parts) == pytest.approx(total, abs=0.01), "the bar is as long as its parts"
    await page.emulate_media(color_scheme="dark")
    await keep(page, "why-dark")
    await page.keyboard.press("Escape")
    await expect(why).to_be_hidden()
    assert watch.troubles == []
    assert watch.hosts == {urlsplit(gateway.url).netloc}, "the page asks nobody but its gateway"
    await context.close()


async def test_why_shows_pictures_and_plays_sound(
    gateway: Gateway, browser: Browser, settings: Settings, hand: bytes
) -> None:
    await session.play(settings, "both", hand)
    context = await browser.new_context(viewport=DESK)
    page, watch = await context.new_page(), Watch()
    watch.over(page)
    await page.goto(f"{gateway.url}#both")
    final = page.locator(".cell.final")
    await expect(final).to_have_count(11, timeout=WITHIN_MS)
    await final.nth(5).focus()
    await page.keyboard.press("Enter")
    why = page.locator("#why")
    await expect(why.locator("blockquote").first).to_contain_text("number")
    image = why.locator(".frames img").first
    await expect(image).to_have_js_property("complete", True)
    assert await image.evaluate("i => i.naturalWidth") > 0
    await expect(why.locator(".without tr")).to_have_count(7)
    await expect(why.locator(".without th").first).to_have_text("without text:")
    play_button = why.locator(".sounds .play")
    await play_button.click()
    await expect(play_button).to_have_text("■ Stop")
    await expect(play_button).to_have_text("▶ Play", timeout=WITHIN_MS)
    await why.get_by_label("What it should have been").fill("kettle")
    await why.get_by_role("button", name="Keep as a label").click()
    await expect(why.get_by_role("status")).to_have_text("Kept: it is kettle.")
    assert watch.troubles == []
    await context.close()


async def test_ten_live_sessions_leave_most_of_each_frame_to_the_browser(
    gateway: Gateway, browser: Browser, settings: Settings
) -> None:
    ten = {f"room {n}": f"S{n % 8 + 1:02d}" for n in range(10)}
    context = await browser.new_context(viewport={"width": 1280, "height": 2400})
    page = await context.new_page()
    playing = asyncio.create_task(streams(settings, ten, 40, 12))
    await page.goto(gateway.url)
    await expect(page.locator(".strip", has_text="room 9").locator(".cell").first).to_be_attached(timeout=WITHIN_MS)
    devtools = await context.new_cdp_session(page)
    await devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    spent, tasks = [], []
    for _ in range(2):
        told = {m["name"]: m["value"] for m in (await devtools.send("Performance.getMetrics"))["metrics"]}
        frames = await page.evaluate(
            "() => new Promise(done => { let n = 0; const turn = () => ++n < 60 ? requestAnimationFrame(turn) : done(n); turn(); })"
        )
        after = {m["name"]: m["value"] for m in (await devtools.send("Performance.getMetrics"))["metrics"]}
        spent.append((after["ScriptDuration"] - told["ScriptDuration"]) * 1000 / frames)
        tasks.append((after["TaskDuration"] - told["TaskDuration"]) * 1000 / frames)
    await playing
    assert await page.locator(".strip").count() == 10
    assert min(spent) < SCRIPT_MS_MAX, f"{spent} ms of script for each frame"
    assert min(tasks) < TASKS_MS_MAX, f"{tasks} ms of the page's thread for each frame"
    await context.close()


async def test_five_hundred_sessions_are_listed_and_one_is_found(gateway: Gateway, browser: Browser) -> None:
    gate = asyncio.Semaphore(20)

    async def one(n: int) -> None:
        async with gate:
            sent = await gateway.ask(f"api/v1/sessions/site-{n:03d}/text", b"number one", content_type="text/plain")
            assert sent.status == 202

    await asyncio.gather(*(one(n) for n in range(500)))
    context = await browser.new_context(viewport=DESK)
    page = await context.new_page()
    await page.goto(gateway.url)
    await expect(page.locator("#list li", has_text="site-")).to_have_count(500, timeout=WITHIN_MS)
    await expect(page.locator(".strip")).to_have_count(10)
    await page.keyboard.press("/")
    await page.keyboard.type("site-123")
    await expect(page.locator("#list li:visible")).to_have_count(1)
    await context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_it_without_scrolling_sideways(
    scheme: str, gateway: Gateway, browser: Browser, settings: Settings
) -> None:
    await streams(settings, {"phone": "S05"}, 44, 4)
    context = await browser.new_context(viewport=PHONE, color_scheme="dark" if scheme == "dark" else "light")
    page = await context.new_page()
    await page.goto(f"{gateway.url}#phone")
    await expect(page.locator(".cell").first).to_be_attached(timeout=WITHIN_MS)
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    await keep(page, f"phone-{scheme}")
    await page.locator(".cell").first.focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#why")).to_be_visible()
    assert await page.evaluate("document.documentElement.scrollWidth") == 360
    await keep(page, f"phone-why-{scheme}")
    for _ in range(30):
        await page.keyboard.press("Tab")
        assert await page.evaluate("!document.activeElement.closest('main, nav')"), "no key leads behind what covers it"
    await page.keyboard.press("Escape")
    await expect(page.locator(".cell:focus")).to_have_count(1)
    await context.close()


async def test_the_page_goes_on_by_itself_after_the_gateway_was_killed(
    stack: LocalStack, services: dict[str, ServiceProcess], browser: Browser
) -> None:
    gateway = await Gateway(stack, 4, BRAID_GATEWAY__LOOK_BACK_S="0").start()
    context = await browser.new_context(viewport=DESK)
    page = await context.new_page()
    try:
        await page.goto(gateway.url)
        await gateway.ask("api/v1/sessions/again/text", b"number one", content_type="text/plain")
        words = page.locator('.strip[data-session="again"] .words')
        await expect(words).to_have_count(1, timeout=WITHIN_MS)
        gateway.process.child.kill()
        await expect(page.locator("#link")).to_have_text("reconnecting", timeout=WITHIN_MS)
        await gateway.start()
        await gateway.ask("api/v1/sessions/again/text", b"number two", content_type="text/plain")
        await expect(words.last).to_have_text("number two", timeout=WITHIN_MS)
        await expect(page.locator("#link")).to_have_text("live", timeout=WITHIN_MS)
    finally:
        await context.close()
        await gateway.process.child.stop()


def test_the_page_is_plain_files_that_name_no_other_host() -> None:
    page = ROOT / "services" / "gateway" / "page"
    for path in page.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text, path
        assert "https://" not in text, path
        assert "innerHTML" not in text, path
