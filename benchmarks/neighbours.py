"""Measure a well-behaved session beside neighbours that flood the system (`make bench-neighbours`).

The session sends 2 images and 2 s of audio a second and a sentence every 2 s. For each neighbour the whole system starts
anew: first the session is measured alone, then beside the neighbour. The latency of a final prediction is counted from the
end of its window; a window is missed if no final prediction of it is there when the system has been quiet for a while.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from PIL import Image

from benchmarks.process_sampler import ProcessSampler
from benchmarks.results import describe_machine, print_page
from benchmarks.whole_system import RunningSystem, run_for_report, run_in_temporary_folder, run_system
from services.contract import cloudevents
from services.contract.partitioner import partition_of
from services.contract.topics import RECORD_BYTES_MAX, Topics
from services.kafka import clients
from services.local.process import ChildProcess

EXAMPLES = Path(__file__).parents[1] / "examples"
GOOD, PARTITIONS = "good", 8
HOP_S, WARM_UP_S = 0.5, 8.0
# A prediction that comes later than this after the last record counts as missed.
WAIT_S = 90.0
SLOWER_MAX = 1.5
FLOOD_BEGUN = 20
# Memory limits of the containers in docker-compose.yml, in MB.
LIMIT_MB = {"aligner": 1024, "fusion": 2048, "gateway": 768}


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour: records of one kind at a rate (0: as fast as the broker takes them), at most `records_max`."""

    title: str
    modality: str
    content_type: str
    rate: float
    records_max: int | None = None
    own_sessions: bool = False
    own_sources: bool = False


NEIGHBOURS = {
    "images": Neighbour("WebP images of 702 bytes and 4096 x 4096 pixels, 20 a second", "video", "image/webp", 20),
    "sessions": Neighbour("5,000 sessions of one text", "text", "text/plain", 0, 5_000, own_sessions=True),
    "texts": Neighbour("texts of one byte, 7,200 a second on the same partition", "text", "text/plain", 7_200),
    "refused": Neighbour("records that admission rejects, 2,000 a second", "text", "text/plain", 2_000),
    "sources": Neighbour("texts of a new source each, 2,000 a second", "text", "text/plain", 2_000, own_sources=True),
    "large": Neighbour("JPEG images of 990 KB, 20 a second", "video", "image/jpeg", 20),
}


@dataclass(frozen=True, slots=True)
class SessionReport:
    """What one session got: latencies of its final predictions (s, rising) and how many windows it missed."""

    latencies_s: tuple[float, ...]
    expected: int

    @property
    def missed(self) -> int:
        """Windows without a final prediction."""
        return self.expected - len(self.latencies_s)

    def quantile(self, share: float) -> float:
        """Return a quantile of the latency; infinite if nothing came."""
        at = min(int(len(self.latencies_s) * share), len(self.latencies_s) - 1)
        return self.latencies_s[at] if at >= 0 else float("inf")


@dataclass(frozen=True, slots=True)
class NeighbourResult:
    """One row of the table."""

    kind: str
    alone: SessionReport
    beside: SessionReport
    sent: int
    sent_per_s: float
    memory_mb: dict[str, float]

    @property
    def failures(self) -> list[str]:
        """What misses the target."""
        failures = []
        if self.beside.quantile(0.99) > SLOWER_MAX * self.alone.quantile(0.99):
            failures.append("p99")
        if self.beside.missed:
            failures.append("missed windows")
        return failures + [f"memory of {n}" for n, mb in self.memory_mb.items() if mb > LIMIT_MB[n]]


def payload_of(kind: str) -> bytes:
    """Return the payload that a neighbour sends."""
    if kind == "images":
        image = io.BytesIO()
        Image.new("RGB", (4096, 4096)).save(image, "WEBP", lossless=True)
        return image.getvalue()
    if kind == "large":
        jpeg = (EXAMPLES / "seven.jpg").read_bytes()
        return jpeg + bytes(990_000 - len(jpeg))
    return {"refused": b"\xff", "sessions": b"hello"}.get(kind, b"x")


def session_on(partition: int) -> str:
    """Return the name of a bad session on this partition."""
    return next(n for n in (f"bad {i}" for i in range(10_000)) if partition_of(n.encode(), PARTITIONS) == partition)


def media_headers(session: str, modality: str, source: str, id: str, content_type: str) -> list[tuple[str, bytes]]:
    """Return the headers of a record that was captured now."""
    return cloudevents.build_headers(
        session=session,
        source=source,
        id=id,
        type=cloudevents.media_type(modality),
        t_us=time.time_ns() // 1000,
        content_type=content_type,
    )


async def flood(servers: str, prefix: str, kind: str, seconds: float) -> dict[str, float]:
    """Send as one neighbour; return the number of records and the time it took."""
    neighbour, body = NEIGHBOURS[kind], payload_of(kind)
    topic = Topics(prefix).media(neighbour.modality)
    session = session_on(partition_of(GOOD.encode(), PARTITIONS))
    producer = AIOKafkaProducer(
        bootstrap_servers=servers, linger_ms=5, max_batch_size=1 << 20, max_request_size=RECORD_BYTES_MAX
    )
    await producer.start()
    began, sent = time.monotonic(), 0
    while time.monotonic() - began < seconds and sent != neighbour.records_max:
        name = f"{session} {sent}" if neighbour.own_sessions else session
        source = cloudevents.device_source(f"bad {sent}" if neighbour.own_sources else "bad", neighbour.modality)
        headers = media_headers(name, neighbour.modality, source, str(sent), neighbour.content_type)
        await producer.send(topic, body, key=name.encode(), headers=headers)
        sent += 1
        if neighbour.rate:
            ahead_s = began + sent / neighbour.rate - time.monotonic()
            if ahead_s > 0.002:
                await asyncio.sleep(ahead_s)
        if not sent % 50:
            await asyncio.sleep(0)
    await producer.flush()
    took_s = time.monotonic() - began
    await producer.stop()
    return {"records": sent, "seconds": took_s}


def good_records(turn: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield modality, content type and payload of what the session sends in one half second."""
    yield "video", "image/jpeg", (EXAMPLES / "seven.jpg").read_bytes()
    yield "audio", "audio/pcm;rate=8000", bytes(8000)
    if turn % 4 == 0:
        yield "text", "text/plain", b"rate this book seven stars"


async def measure_session(servers: str, seconds: float) -> SessionReport:
    """Send as the well-behaved session and wait for the final predictions of its windows."""
    topics, partition = Topics(), partition_of(GOOD.encode(), PARTITIONS)
    latencies: dict[int, float] = {}
    reader = AIOKafkaConsumer(bootstrap_servers=servers, fetch_max_wait_ms=20)
    await reader.start()
    reader.assign([TopicPartition(topics.predictions, partition)])
    await reader.seek_to_end()
    async with clients.producer(servers) as producer:
        began_us = time.time_ns() // 1000
        # Windows that begin after the first record and end before the last one are certain to exist.
        expected = int(seconds / HOP_S) - 5
        receiving = asyncio.create_task(_receive(_predictions(reader), began_us, latencies, expected))
        began, turn = time.monotonic(), 0
        sends: list[asyncio.Future[object]] = []
        while time.monotonic() - began < seconds:
            for modality, content_type, body in good_records(turn):
                source = cloudevents.device_source("good", modality)
                headers = media_headers(GOOD, modality, source, f"{began_us} {turn}", content_type)
                sends.append(await producer.send(topics.media(modality), body, key=GOOD.encode(), headers=headers))
            turn += 1
            await asyncio.sleep(max(began + turn * HOP_S - time.monotonic(), 0))
        await asyncio.gather(*sends)
        with suppress(TimeoutError):
            await asyncio.wait_for(receiving, WAIT_S)
    await reader.stop()
    counted = sorted(latencies[start] for start in sorted(latencies)[:expected])
    return SessionReport(tuple(counted), expected)


async def _predictions(reader: AIOKafkaConsumer) -> AsyncIterator[dict[str, object]]:
    async for record in reader:
        prediction = json.loads(record.value)
        if prediction["session"] == GOOD and prediction["final"]:
            yield prediction


async def _receive(
    predictions: AsyncIterator[dict[str, object]], began_us: int, latencies: dict[int, float], expected: int
) -> None:
    async for prediction in predictions:
        window = prediction["window"]
        assert isinstance(window, dict)
        if window["start"] >= began_us:
            latencies.setdefault(window["start"], time.time() - window["end"] / 1e6)
            if len(latencies) >= expected:
                return


async def measure(kind: str, seconds: float, folder: Path) -> NeighbourResult:
    """Measure the session alone and beside one neighbour."""
    async with run_system(folder) as running:
        servers = running.stack.bootstrap_servers
        await measure_session(servers, WARM_UP_S)
        alone = await measure_session(servers, seconds)
        sampler = _sampler(running)
        sampler.start()
        arguments = ["--flood", kind, "--seconds", str(seconds), "--servers", servers]
        flooding = asyncio.create_task(
            run_for_report(ChildProcess("flood", folder), "benchmarks.neighbours", arguments)
        )
        # On a busy machine a process needs seconds to start, and the session would be measured alone.
        await _wait_for_records(servers, Topics().media(NEIGHBOURS[kind].modality), flooding)
        beside = await measure_session(servers, seconds)
        report = await flooding
        sampler.stop()
    memory_mb = {name: max(sample.rss for sample in samples) / 1e6 for name, samples in sampler.samples.items()}
    return NeighbourResult(
        kind, alone, beside, int(report["records"]), report["records"] / report["seconds"], memory_mb
    )


async def _wait_for_records(servers: str, topic: str, sender: asyncio.Task[dict[str, float]]) -> None:
    """Wait until a sender has written some records to a topic (more than there are idle records), or ends."""
    logs = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    async with clients.reader(servers) as reader:
        before = sum((await reader.end_offsets(logs)).values())
        while not sender.done() and sum((await reader.end_offsets(logs)).values()) < before + FLOOD_BEGUN:
            await asyncio.wait([sender], timeout=0.05)


def _sampler(running: RunningSystem) -> ProcessSampler:
    return ProcessSampler({n: [s.child.pid or 0] for n, s in running.services.items()}, interval_s=0.5)


def render_page(results: list[NeighbourResult], seconds: float, load_before: float) -> str:
    """Render docs/results/neighbours.md."""
    machine = describe_machine()
    rows = "\n".join(
        f"| {NEIGHBOURS[r.kind].title} | {r.sent_per_s:,.0f} | {r.alone.quantile(0.5):.2f} | {r.alone.quantile(0.99):.2f} | "
        f"{r.beside.quantile(0.5):.2f} | {r.beside.quantile(0.99):.2f} | {r.beside.missed} of {r.beside.expected} | "
        f"{r.memory_mb['aligner']:.0f} | {r.memory_mb['fusion']:.0f} | {r.memory_mb['gateway']:.0f} | "
        f"{', '.join(r.failures) or 'met'} |"
        for r in results
    )
    return (
        f"# A session beside neighbours that flood the system\n\n`make bench-neighbours SECONDS={seconds:g}` on "
        f"{machine['cpus']} CPUs, commit {machine['commit']}, load average {load_before:.1f} before the run. Broker, Redis, "
        "all services, the neighbour and the measured\nsession share these CPUs. Latency in seconds from the end of a window "
        "to its final prediction; memory is the largest resident set in MB.\nTarget: p99 at most "
        f"{SLOWER_MAX:g} x of alone, no window missed, memory under the container's limit.\n\n"
        "| neighbour | records/s sent | p50 alone | p99 alone | p50 | p99 | missed | aligner | fusion | gateway | target |\n"
        f"|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---|\n{rows}\n"
    )


def main() -> int:
    """Measure all neighbours; return 0 if each meets the target."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.neighbours", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30, help="how long each neighbour sends")
    parser.add_argument("--only", help=f"comma-separated: {','.join(NEIGHBOURS)}")
    parser.add_argument("--write", action="store_true", help="write docs/results/neighbours.md")
    parser.add_argument("--flood", choices=tuple(NEIGHBOURS), help=argparse.SUPPRESS)
    parser.add_argument("--servers", help=argparse.SUPPRESS)
    parser.add_argument("report", nargs="?", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.flood:
        report = asyncio.run(flood(options.servers, Topics().prefix, options.flood, options.seconds))
        options.report.write_text(json.dumps(report))
        return 0
    load_before, results = os.getloadavg()[0], []
    for kind in (options.only or ",".join(NEIGHBOURS)).split(","):
        results.append(run_in_temporary_folder(partial(measure, kind, options.seconds)))
        r = results[-1]
        sys.stderr.write(
            f"{kind}: alone p99 {r.alone.quantile(0.99):.2f} s; beside p50 {r.beside.quantile(0.5):.2f} s, "
            f"p99 {r.beside.quantile(0.99):.2f} s, missed {r.beside.missed} of {r.beside.expected}, "
            f"{r.sent} records at {r.sent_per_s:.0f}/s, MB { ({n: round(mb) for n, mb in r.memory_mb.items()}) }\n"
        )
    print_page(render_page(results, options.seconds, load_before), "neighbours.md", write=options.write)
    return 0 if not any(r.failures for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
