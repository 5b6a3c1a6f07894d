"""What an event costs the aligner's process, and where the time goes: the real service on a real broker and Redis.

`make profile`. The topics are filled first (13 events per session and second: ten of sound, two frames, one text), so
that the aligner works through a backlog; its CPU seconds are read from the system between two looks at its counters,
so that neither its start nor its idling counts. Then once more under py-spy: in which layer each sample was. Beside it
a bare aiokafka loop reads the same topics and does nothing: the floor, and the measure of how busy the machine was.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil

from benchmarks.columns import COLUMNS, keep, middle
from benchmarks.floor import floor
from benchmarks.samples import ALIGNER, functions, layers, spying
from services.contract import envelope
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime import kafka, topic_admin
from services.runtime.settings import Settings, load

SESSIONS = 50
EVENTS = {200: 52_000, 4_096: 26_000}
BUDGET_US = {200: 12, 4_096: 25}
# Modality, events a second, content type, what the bytes begin with.
STREAMS = (
    ("audio", 10, "audio/pcm;rate=16000;channels=1;format=s16le", b""),
    ("video", 2, "image/jpeg", b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x08\x00\x08\x03"),
    ("text", 1, "text/plain; charset=utf-8", b"x"),
)
BY_SECOND = sum(rate for _, rate, _, _ in STREAMS)
# Under py-spy: more events, so that there are samples enough for a share of one in a hundred.
SPIED_EVENTS = 104_000
WITHIN_S, ROUNDS = 240, 3


async def fill(settings: Settings, size: int, events: int) -> None:
    """Write a backlog that ends now, in order of event time."""
    seconds = events // (SESSIONS * BY_SECOND)
    begin_us = (int(time.time()) - seconds - 1) * 1_000_000
    topics = settings.topic_names()
    async with kafka.producer(settings.kafka.bootstrap_servers) as producer:
        sent = []
        for t_us, session, modality, content_type, body, id in _events(begin_us, seconds, size):
            headers = envelope.build(
                session=session,
                source=f"/devices/{session}/{modality}",
                id=id,
                type=envelope.media_type(modality),
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


async def measure(stack: LocalStack, size: int, spied: Path | None = None) -> dict[str, float]:
    """CPU of the aligner and of a bare loop per event (us), over one backlog; spied: where py-spy writes its samples."""
    asked = EVENTS[size] if spied is None else SPIED_EVENTS
    prefix, events = f"p{time.time_ns()}", asked // (SESSIONS * BY_SECOND) * SESSIONS * BY_SECOND
    settings = stack.settings()
    settings = settings.model_copy(update={"topics": settings.topics.model_copy(update={"prefix": prefix})})
    async with kafka.admin(stack.bootstrap_servers) as admin:
        await topic_admin.apply(admin, settings)
    await fill(settings, size, events)
    environment = {**stack.environment(), "BRAID_TOPICS__PREFIX": prefix, "BRAID_KAFKA__GROUP_PREFIX": prefix}
    aligner = ServiceProcess("aligner", stack.folder, environment)
    aligner.start()
    try:
        await aligner.ready()
        process = psutil.Process(aligner.child.pid)
        async with spying(process.pid, spied) if spied is not None else nullcontext():
            looks = [await _look(aligner, process)]
            deadline = time.monotonic() + WITHIN_S
            while looks[-1][1] < events:
                if time.monotonic() > deadline:
                    raise SystemExit(f"only {looks[-1][1]:.0f} of {events} events were read within {WITHIN_S} s")
                await asyncio.sleep(0.2)
                looks.append(await _look(aligner, process))
        (spent, begun), (spent_all, done) = next(look for look in looks if look[1]), looks[-1]
        windows = await asyncio.to_thread(aligner.metric, "braid_windows_total")
        found = {
            "us": (spent_all - spent) / (done - begun) * 1e6,
            "windows": windows / events,
            "resident_mb": process.memory_info().rss / 2**20,
        }
    finally:
        await aligner.child.stop()
    bare_s = await floor(stack.bootstrap_servers, settings.topic_names().media_all, events, 2_000)
    found["bare_us"] = bare_s * 1e6
    return found


async def _look(aligner: ServiceProcess, process: psutil.Process) -> tuple[float, float]:
    events = await asyncio.to_thread(aligner.metric, "braid_events_consumed_total")
    spent = process.cpu_times()
    return spent.user + spent.system, events


def page(told: dict[str, Any]) -> str:
    """The Markdown of what was measured, before and after."""
    lines = [
        "# What an event costs the aligner",
        "",
        f"`make profile` (benchmarks/aligner_profile.py) on {platform.machine()}, Python {platform.python_version()}: "
        "CPU of the aligner's process per event,",
        "payloads to Redis, window records (early and final) and commits included; the bare aiokafka loop read the "
        "same topics right after it.",
        "Medians of three. Microseconds depend on the machine and on what else ran there; the ratio to the bare loop does "
        "so less.",
        "Load average when it began: " + ", ".join(f"{n} {row['load']:.1f}" for n, row in told.items()) + ".",
        "",
        "| bytes of an event | | us | bare loop, us | ratio | windows per event | resident MB | budget, us |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for size, budget in BUDGET_US.items():
        for name in ("before", "after"):
            if row := told.get(name, {}).get(str(size)):
                lines.append(
                    f"| {size:,} | {name} | {row['us']:.1f} | {row['bare_us']:.1f} | {row['us'] / row['bare_us']:.1f} "
                    f"| {row['windows']:.2f} | {row['resident_mb']:.0f} | {budget} |"
                )
    lines += ["", "Where the samples of py-spy lie, at 200 bytes, and what that makes of the microseconds above:", ""]
    lines += ["| layer | before | us | after | us |", "|---|---:|---:|---:|---:|"]
    shares = {name: told.get(name, {}).get("layers", {}) for name in ("before", "after")}
    for layer in sorted(ALIGNER.layers, key=lambda layer: -max(share.get(layer, 0.0) for share in shares.values())):
        if any(layer in share for share in shares.values()):
            cells = [
                cell
                for name, share in shares.items()
                for cell in (
                    (f"{share.get(layer, 0):.0%}", f"{share.get(layer, 0) * told[name]['200']['us']:.1f}")
                    if share
                    else ("not measured", "")
                )
            ]
            lines.append(f"| {layer} | {' | '.join(cells)} |")
    for name, row in told.items():
        if "functions" in row:
            lines += ["", f"The functions with the most samples of their own, at 200 bytes, {name}:", ""]
            lines += ["| function | own | with what it calls |", "|---|---:|---:|"]
            lines += [f"| `{f}` | {own:.1%} | {whole:.1%} |" for f, (own, whole) in row["functions"].items()]
    return "\n".join(lines) + "\n"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="after", choices=COLUMNS, help="which column to write")
    parser.add_argument("--size", type=int, choices=list(EVENTS), help="only measure this size, and write nothing")
    asked = parser.parse_args()
    found: dict[str, Any] = {"load": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as folder:
        async with LocalStack(Path(folder), load()) as stack:
            for size in [asked.size] if asked.size else EVENTS:
                found[str(size)] = middle([await measure(stack, size) for _ in range(ROUNDS)])
                sys.stderr.write(f"{size} bytes: {json.dumps(found[str(size)])}\n")
            if not asked.size:
                sys.stderr.write("once more under py-spy\n")
                await measure(stack, 200, Path(folder) / "samples")
                found["layers"] = layers(Path(folder) / "samples", ALIGNER)
                found["functions"] = functions(Path(folder) / "samples", ALIGNER)
    if not asked.size:
        keep("aligner-profile", asked.name, found, page)


if __name__ == "__main__":
    asyncio.run(main())
