"""Frames per second and CPU time of the live page in a real Chromium: `python -m benchmarks.page` (`make bench-page`).

The whole system plays ten recorded sessions live and lists many more. Under that load an empty page is measured first,
then the live page, once high enough to show all ten sessions and once as high as a desktop screen. What travels to other
machines is the ratio to the empty page, of frames and of the time that the page's thread spends on a frame.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil
from PIL import Image
from playwright.async_api import Browser, CDPSession, Page, async_playwright

from benchmarks.results import describe_machine, print_page
from benchmarks.whole_system import run_in_temporary_folder, run_system
from services.contract import cloudevents
from services.kafka import clients
from services.local.process import StartError
from services.offline.evaluation.dataset import RecordedStream, read_stream
from services.offline.evaluation.kafka_player import PlaybackSchedule, play_streams
from services.runtime.settings import ROOT, Settings

STREAMS = tuple(f"S{n:02d}" for n in range(1, 9))
FROM_S, WARM_S = 30, 8
WITHIN_MS = 60_000
FRAME_MS = 1000 / 60
NICE = -15
# A frame of which the next came this much later than it could was not the last that was due.
DROPPED = 1.5
FRAME_RATE_RATIO_MIN = 0.95
WIDE, DESK, SHOWN = (1280, 2400), (1280, 800), (1280, 820)
TIMES = """ms => new Promise(done => {
  const times = [];
  const turn = now => { times.push(now); now - times[0] < ms ? requestAnimationFrame(turn) : done(times); };
  requestAnimationFrame(turn);
})"""


@dataclass(frozen=True, slots=True)
class Frames:
    """What a browser reached on one page.

    Attributes:
        per_s: Frames a second.
        p99_ms: The 99th percentile of the time between two frames.
        dropped: The share of frames that were due and not drawn.
        script_ms: CPU time of the page's scripts for a frame.
        thread_ms: CPU time of the page's thread for a frame: scripts, layout and painting.
        browser: CPUs that the browser used.
        system: CPUs that everything else of this run used.
    """

    per_s: float
    p99_ms: float
    dropped: float
    script_ms: float
    thread_ms: float
    browser: float
    system: float

    @staticmethod
    def of(times_ms: Sequence[float], script_s: float, thread_s: float, browser: float, system: float) -> Frames:
        """Compute from the times of at least two frames and the CPU seconds that all of them took."""
        gaps = [b - a for a, b in pairwise(times_ms)]
        missed = sum(round(gap / FRAME_MS) - 1 for gap in gaps if gap > DROPPED * FRAME_MS)
        p99_ms = statistics.quantiles(gaps, n=100)[98] if len(gaps) > 1 else gaps[0]
        script_ms, thread_ms = (seconds * 1000 / len(gaps) for seconds in (script_s, thread_s))
        dropped = missed / (missed + len(gaps))
        return Frames(len(gaps) / sum(gaps) * 1000, p99_ms, dropped, script_ms, thread_ms, browser, system)


async def send_listed_sessions(settings: Settings, count: int) -> None:
    """Send one sentence to each of `count` sessions."""
    topics = settings.topic_names()
    async with clients.producer(settings.kafka) as producer:
        for n in range(count):
            session = f"site {n:03d}"
            headers = cloudevents.build_headers(
                session=session,
                source="/devices/desk/text",
                id="1",
                type=cloudevents.media_type("text"),
                t_us=time.time_ns() // 1000,
                content_type="text/plain",
            )
            await producer.send(topics.media("text"), b"number one", key=session.encode(), headers=headers)


async def play_recordings(settings: Settings, recordings: dict[str, RecordedStream], seconds: float) -> None:
    """Play recordings in real time."""
    now_us = time.time_ns() // 1000
    schedule = PlaybackSchedule.live(now_us, FROM_S, seconds)
    async with clients.producer(settings.kafka) as producer:
        await play_streams(producer, settings.topic_names(), recordings, schedule, now_us)


async def measure_frames(page: Page, seconds: float) -> Frames:
    """Measure the frames of a page over some seconds."""
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    thread_before = await read_thread_seconds(devtools)
    began, before = time.monotonic(), read_cpu_seconds()
    times = await page.evaluate(TIMES, seconds * 1000)
    took, after = time.monotonic() - began, read_cpu_seconds()
    script_s, thread_s = (b - a for a, b in zip(thread_before, await read_thread_seconds(devtools), strict=True))
    browser, system = ((b - a) / took for a, b in zip(before, after, strict=True))
    return Frames.of(times, script_s, thread_s, browser, system)


async def read_thread_seconds(devtools: CDPSession) -> tuple[float, float]:
    """Return the CPU seconds of the page's scripts and of its whole thread so far."""
    metrics = {m["name"]: m["value"] for m in (await devtools.send("Performance.getMetrics"))["metrics"]}
    return metrics["ScriptDuration"], metrics["TaskDuration"]


def read_cpu_seconds() -> tuple[float, float]:
    """Return CPU seconds so far: of the browser, and of this process with everything else that it started."""
    own = psutil.Process()
    browser, system = 0.0, sum(own.cpu_times()[:2])
    for child in own.children(recursive=True):
        try:
            seconds, name = sum(child.cpu_times()[:2]), child.name()
        except psutil.NoSuchProcess:
            continue
        if "chrom" in name:
            browser += seconds
        else:
            system += seconds
    return browser, system


async def open_page(browser: Browser, address: str, sessions: int) -> Page:
    """Open the page and wait until each of its sessions shows a prediction."""
    page = await browser.new_page(viewport={"width": WIDE[0], "height": WIDE[1]})
    await page.goto(address)
    await page.wait_for_function(
        f"() => document.querySelectorAll('.session:has(.cell)').length >= {sessions}", timeout=WITHIN_MS
    )
    return page


def prioritize_browser() -> bool:
    """Give the browser priority over the services, as if those ran elsewhere; return False where that is not allowed.

    Where Linux shares CPUs among sessions first (autogroup), a process that is nice is so only within its own session.
    """
    try:
        for child in psutil.Process().children(recursive=True):
            if "chrom" in child.name():
                child.nice(NICE)
                session = Path(f"/proc/{child.pid}/autogroup")
                if session.exists():
                    session.write_text(str(NICE))
    except (psutil.AccessDenied, PermissionError):
        return False
    return True


async def save_screenshot(page: Page, path: Path, scheme: str, why: bool = False) -> None:
    """Save a small screenshot of the page in a color scheme; with `why`, open an explanation first."""
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await page.set_viewport_size({"width": SHOWN[0], "height": SHOWN[1]})
    if why:
        # The most confident prediction to which all three modalities contribute.
        await page.evaluate(
            "() => { const modalities = cell => Object.values(cell.prediction.modalities).filter(s => Math.abs(s.contribution) >= 0.08).length;"
            " [...document.querySelectorAll('.cell.final:not(.nothing)')].sort((a, b) => "
            "modalities(b) - modalities(a) || b.prediction.confidence - a.prediction.confidence)[0].click(); }"
        )
        await page.locator("#explanation .frames img, #explanation blockquote").first.wait_for()
    await page.wait_for_timeout(1000)
    shot = Image.open(io.BytesIO(await page.screenshot()))
    path.parent.mkdir(parents=True, exist_ok=True)
    shot.save(path, quality=82, method=6)


async def run_benchmark(
    seconds: float, sessions: int, others: int, pictures: Path | None, folder: Path
) -> tuple[Frames, Frames, Frames, int, bool]:
    """Measure the frames of an empty page and of the live page.

    Returns:
        The frames of the empty page, of the whole live page and of the page on a desk, how many sessions it lists, and
        whether the browser had priority.

    Raises:
        StartError: There is no Chromium, or a service does not start.
    """
    chromium = shutil.which("chromium")
    if chromium is None:
        raise StartError("no chromium on the PATH: `apt-get install chromium`")
    names = {f"room {n + 1}": STREAMS[n % len(STREAMS)] for n in range(sessions)}
    recordings = {session: await asyncio.to_thread(read_stream, ROOT / "data", name) for session, name in names.items()}
    async with run_system(folder) as running, async_playwright() as playwright:
        await send_listed_sessions(running.settings, others)
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        playing = asyncio.create_task(
            play_recordings(running.settings, recordings, min(3 * WARM_S + 3 * seconds + 10, 90))
        )
        await asyncio.sleep(WARM_S)
        empty_page = await browser.new_page()
        prioritize_browser()
        empty = await measure_frames(empty_page, seconds)
        await empty_page.close()
        page = await open_page(browser, running.page, sessions)
        ahead = prioritize_browser()
        await asyncio.sleep(WARM_S)
        live = await measure_frames(page, seconds)
        await page.set_viewport_size({"width": DESK[0], "height": DESK[1]})
        await asyncio.sleep(WARM_S / 2)
        desk = await measure_frames(page, seconds)
        count = await page.locator("#list li").count()
        if pictures is not None:
            await save_screenshot(page, pictures / "page-light.webp", "light")
            await save_screenshot(page, pictures / "why-dark.webp", "dark", why=True)
        await browser.close()
        playing.cancel()
        return empty, live, desk, count, ahead


def render_results(
    empty: Frames, live: Frames, desk: Frames, sessions: int, count: int, ahead: bool, seconds: float
) -> str:
    """Return the page of the results as Markdown."""
    rows = "\n".join(
        f"| {name} | {f.per_s:.1f} | {f.p99_ms:.0f} | {f.dropped:.1%} | {f.script_ms:.1f} | {f.thread_ms:.1f} | {f.browser:.2f} | {f.system:.2f} |"
        for name, f in (
            ("empty page", empty),
            (f"live page, {sessions} live sessions, {count} listed", live),
            (f"live page at {DESK[0]} by {DESK[1]} pixels", desk),
        )
    )
    m = describe_machine()
    return (
        f"# Frame rate of the live page\n\n`make bench-page` on {m['cpus']} CPUs without a graphics card, load average "
        f"{m['load_before']:g}, commit {m['commit']}: Chromium, {WIDE[0]} by {WIDE[1]} pixels, {seconds:g} s of\n"
        "requested frames (at most 60 a second) each, while the whole system plays the recorded sessions on the same "
        f"CPUs{', with priority for the browser' if ahead else ''}. The empty page shows what the\nmachine can do; "
        "compare the ratio of the two.\n\n"
        "| | frames/s | p99 frame time, ms | dropped | scripts, ms/frame | page thread, ms/frame "
        "| CPUs used by the browser | by the system |\n"
        f"|---|---:|---:|---:|---:|---:|---:|---:|\n{rows}\n\n"
        f"The live page reaches {live.per_s / empty.per_s:.2f} of the frame rate of an empty page, and its thread "
        f"uses {live.thread_ms / empty.thread_ms:.1f} times the CPU time per frame.\n"
    )


def main() -> int:
    """Measure, print the page, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15, help="measured, of each page")
    parser.add_argument("--sessions", type=int, default=10, choices=range(1, 11), help="live, all on the page")
    parser.add_argument("--listed", type=int, default=500, help="sessions more, in the list alone")
    parser.add_argument("--pictures", type=Path, help="write screenshots of the page into this folder (docs/images)")
    parser.add_argument("--write", action="store_true", help="write docs/results/page.md")
    options = parser.parse_args()
    empty, live, desk, count, ahead = run_in_temporary_folder(
        lambda folder: run_benchmark(options.seconds, options.sessions, options.listed, options.pictures, folder)
    )
    print_page(
        render_results(empty, live, desk, options.sessions, count, ahead, options.seconds),
        "page.md",
        write=options.write,
    )
    return 0 if live.per_s >= FRAME_RATE_RATIO_MIN * empty.per_s else 1


if __name__ == "__main__":
    sys.exit(main())
