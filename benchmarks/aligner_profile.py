"""Measure the aligner's CPU per event: the real service on a real broker and Redis (`make profile`).

The topics are filled first (13 events per session and second: ten of audio, two frames, one text), so that the aligner
processes a backlog. Its CPU is read between two readings of its counters, so that neither its start nor idle time counts.
Then a bare aiokafka loop reads the same topics and does nothing, which shows how busy the machine was.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.bare_consumer import measure_bare_consumer
from benchmarks.results import median_of_each, print_page
from services.contract import cloudevents
from services.kafka import clients, topic_admin
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings, load

SESSIONS = 50
EVENTS = {200: 52_000, 4_096: 26_000}
# Modality, events per second, content type, first bytes.
STREAMS = (
    ("audio", 10, "audio/pcm;rate=16000;channels=1;format=s16le", b""),
    ("video", 2, "image/jpeg", b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x08\x00\x08\x03"),
    ("text", 1, "text/plain; charset=utf-8", b"x"),
)
EVENTS_PER_SECOND = sum(rate for _, rate, _, _ in STREAMS)
TIMEOUT_S, ROUNDS = 240, 3


async def fill_topics(settings: Settings, size: int, events: int) -> None:
    """Write a backlog that ends now, in order of event time."""
    seconds = events // (SESSIONS * EVENTS_PER_SECOND)
    begin_us = (int(time.time()) - seconds - 1) * 1_000_000
    topics = settings.topic_names()
    async with clients.producer(settings.kafka.bootstrap_servers) as producer:
        sent = []
        for t_us, session, modality, content_type, body, id in _events(begin_us, seconds, size):
            headers = cloudevents.build_headers(
                session=session,
                source=f"/devices/{session}/{modality}",
                id=id,
                type=cloudevents.media_type(modality),
                t_us=t_us,
                content_type=content_type,
            )
            sent.append(await producer.send(topics.media(modality), body, key=session.encode(), headers=headers))
            if len(sent) == 5_000:
                await asyncio.gather(*sent)
                sent.clear()
        await asyncio.gather(*sent)


def _events(begin_us: int, seconds: int, size: int) -> Iterator[tuple[int, str, str, str, bytes, str]]:
    moments = sorted((n * 1_000_000 // rate, at) for at, (_, rate, _, _) in enumerate(STREAMS) for n in range(rate))
    for second in range(seconds):
        for offset_us, at in moments:
            modality, _, content_type, head = STREAMS[at]
            t_us = begin_us + second * 1_000_000 + offset_us
            for n in range(SESSIONS):
                body = (head + b"%d/%d " % (n, t_us)).ljust(size, b"x")
                yield t_us, f"home-{n}", modality, content_type, body, f"{second}.{offset_us}"


async def measure(stack: LocalStack, size: int) -> dict[str, float]:
    """Return CPU per event (us) of the aligner and of a bare loop over one backlog."""
    prefix, events = f"p{time.time_ns()}", EVENTS[size] // (SESSIONS * EVENTS_PER_SECOND) * SESSIONS * EVENTS_PER_SECOND
    settings = stack.settings()
    settings = settings.model_copy(update={"topics": settings.topics.model_copy(update={"prefix": prefix})})
    async with clients.admin(stack.bootstrap_servers) as admin:
        await topic_admin.create_missing_topics(admin, settings)
    await fill_topics(settings, size, events)
    environment = {**stack.environment(), "BRAID_TOPICS__PREFIX": prefix, "BRAID_KAFKA__GROUP_PREFIX": prefix}
    aligner = ServiceProcess("aligner", stack.folder, environment)
    aligner.start()
    try:
        await aligner.wait_until_ready()
        process = psutil.Process(aligner.child.pid)
        readings = [await _cpu_and_events(aligner, process)]
        deadline = time.monotonic() + TIMEOUT_S
        while readings[-1][1] < events:
            if time.monotonic() > deadline:
                raise SystemExit(f"only {readings[-1][1]:.0f} of {events} events were read within {TIMEOUT_S} s")
            await asyncio.sleep(0.2)
            readings.append(await _cpu_and_events(aligner, process))
        (cpu_before, first), (cpu_after, last) = next(reading for reading in readings if reading[1]), readings[-1]
        windows = await asyncio.to_thread(aligner.read_metric, "braid_windows_total")
        row = {
            "us": (cpu_after - cpu_before) / (last - first) * 1e6,
            "windows": windows / events,
            "resident_mb": process.memory_info().rss / 2**20,
        }
    finally:
        await aligner.child.stop()
    bare_s = await measure_bare_consumer(stack.bootstrap_servers, settings.topic_names().media_all, events, 2_000)
    return row | {"bare_us": bare_s * 1e6}


async def _cpu_and_events(aligner: ServiceProcess, process: psutil.Process) -> tuple[float, float]:
    events = await asyncio.to_thread(aligner.read_metric, "braid_events_consumed_total")
    cpu = process.cpu_times()
    return cpu.user + cpu.system, events


def render_page(rows: dict[int, dict[str, float]], load_before: float) -> str:
    """Return the page of results."""
    table = "\n".join(
        f"| {size:,} | {row['us']:.1f} | {row['bare_us']:.1f} | {row['us'] / row['bare_us']:.1f} | {row['windows']:.2f} "
        f"| {row['resident_mb']:.0f} |"
        for size, row in rows.items()
    )
    return (
        f"# CPU of the aligner per event\n\n`make profile` on {platform.machine()}, Python {platform.python_version()}, "
        f"load average {load_before:.1f}: CPU of the aligner's process per\nevent of a backlog, with payloads to Redis, "
        "early and final windows and commits. A bare aiokafka loop reads the same topics.\nMedians of "
        f"{ROUNDS} runs. The ratio carries over to other machines, microseconds do not.\n\n"
        "| bytes per event | us | bare loop, us | ratio | windows per event | resident MB |\n"
        f"|---:|---:|---:|---:|---:|---:|\n{table}\n"
    )


async def main() -> None:
    """Measure every size, or one of them, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, choices=list(EVENTS), help="measure only this size and write nothing")
    size = parser.parse_args().size
    rows, load_before = {}, os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        async with LocalStack(Path(folder), load()) as stack:
            for bytes_per_event in [size] if size else EVENTS:
                runs = [await measure(stack, bytes_per_event) for _ in range(ROUNDS)]
                rows[bytes_per_event] = median_of_each(runs)
    print_page(render_page(rows, load_before), "aligner-profile.md", write=not size)


if __name__ == "__main__":
    asyncio.run(main())
