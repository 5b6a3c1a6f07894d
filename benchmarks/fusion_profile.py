"""Measure CPU of the fusion worker per window without a model: real broker, real Redis (`make profile-fusion`).

The load of class A (13 events per session and second: ten of audio, two frames of 640 x 360, one text; some late, repeated,
broken) is aligned once by the real aligner. The windows are then copied to fresh topics for each run of a fusion worker
with the stub as its device, which works through them as a backlog. CPU is read from the system and progress from the ends
of the topics, so that neither start nor idling counts. A bare aiokafka loop reads the same windows and does nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from aiokafka import TopicPartition

from benchmarks.alignment_run import QUIET_S, RunFailed, count_records, job_settings, reset_redis, send_load
from benchmarks.bare_consumer import measure_bare_consumer
from benchmarks.device_load import PER_SECOND, TYPES, DeviceLoad, make_payloads
from benchmarks.results import describe_machine, median_of_each, print_page
from benchmarks.shipped_streams import STUB_ENVIRONMENT, TTL_S
from benchmarks.systems import BenchmarkJob, braid_environment
from model.checkpoint import load as load_model
from model.checkpoint import resolve_checkpoint
from model.modality import MODALITIES
from services.fusion.stages import AUDIO
from services.kafka import clients, topic_admin
from services.kafka.log_reader import read_range
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings, load

PARTITIONS, ROUNDS, WITHIN_S = 8, 3, 120.0
LOAD = DeviceLoad(sessions=50, seconds=40, frames=True)
COUNTERS = (
    "batches_total",
    "predictions_total",
    "members_unusable_total",
    "encoder_items_total",
    "encoder_items_again_total",
)
# Of a backlog's records: before it something still starts, after it the last ones wait.
BETWEEN = (0.1, 0.9)


@dataclass(frozen=True, slots=True)
class FusionProfileCase:
    """Windows of which size and step (ms), and how many of them the stub takes at once."""

    name: str
    size_ms: int
    hop_ms: int
    batch: int


CASES = (
    FusionProfileCase("4 s / 1 s, batches of 8", 4_000, 1_000, 8),
    FusionProfileCase("4 s / 1 s, batches of 64", 4_000, 1_000, 64),
    FusionProfileCase("2 s / 0.5 s, batches of 8", 2_000, 500, 8),
)


@dataclass(frozen=True, slots=True)
class AlignedBacklog:
    """Windows in their topic: what names it, how many, of how many events, and CPU of the aligner for each (ms)."""

    settings: Settings
    job: BenchmarkJob
    windows: int
    events: int
    ms: float


async def align_backlog(stack: LocalStack, case: FusionProfileCase) -> AlignedBacklog:
    """Send the load and let the aligner work through it; payloads stay in Redis, whatever the topics are called."""
    job = BenchmarkJob(f"f{secrets.token_hex(4)}", PARTITIONS, case.size_ms, case.hop_ms)
    settings = await _topics(stack, job)
    await reset_redis(stack)
    told = await send_load(stack, job, LOAD, live=False)
    aligner = ServiceProcess(
        "aligner", stack.folder, braid_environment(stack, job) | {"BRAID_REDIS__TTL_S": str(TTL_S)}
    )
    aligner.start()
    try:
        ms, windows = await _spent(stack, settings, settings.topic_names().windows, aligner, None)
    finally:
        await aligner.child.stop(10)
    return AlignedBacklog(settings, job, windows, told["records"], ms)


async def measure_fusion(stack: LocalStack, of: AlignedBacklog, case: FusionProfileCase) -> dict[str, float]:
    """Copy the windows to topics of their own and have a worker answer them: its figures, and the bare loop's."""
    job = replace(of.job, prefix=f"f{secrets.token_hex(4)}")
    settings = await _topics(stack, job)
    await _copy(stack, of.settings, settings)
    environment = braid_environment(stack, job) | STUB_ENVIRONMENT | {"STUB_BATCH": str(case.batch)}
    fusion = ServiceProcess("fusion", stack.folder, environment, module="benchmarks.stub_model")
    fusion.start()
    try:
        await fusion.ready()
        ms, _ = await _spent(stack, settings, settings.topic_names().predictions, fusion, of.windows)
        found = {"ms": ms, "resident_mb": psutil.Process(fusion.child.pid).memory_info().rss / 2**20} | _told(fusion)
    finally:
        await fusion.child.stop(10)
    bare_s = await measure_bare_consumer(stack.bootstrap_servers, [settings.topic_names().windows], of.windows, 256)
    return found | {"bare_ms": bare_s * 1e3}


def _told(fusion: ServiceProcess) -> dict[str, float]:
    """What the worker says of itself. Raises Failed where it did not do all of the work that is measured."""
    counts = {name: fusion.metric(f"braid_{name}") for name in COUNTERS}
    if counts["members_unusable_total"]:
        raise RunFailed(f"{counts['members_unusable_total']:.0f} members could not be used")
    windows = counts["predictions_total"]
    items = counts["encoder_items_total"]
    return {
        "batch": windows / counts["batches_total"],
        "encoded": items / windows,
        "per_item": items / (items - counts["encoder_items_again_total"]),
    }


async def _topics(stack: LocalStack, job: BenchmarkJob) -> Settings:
    settings = job_settings(stack, job)
    async with clients.admin(stack.bootstrap_servers) as admin:
        await topic_admin.apply(admin, settings)
    return settings


async def _copy(stack: LocalStack, source: Settings, target: Settings) -> None:
    """The window records of one prefix under another, each in its partition and in order."""
    topic = target.topic_names().windows
    async with clients.reader(stack.bootstrap_servers) as reader, clients.producer(stack.bootstrap_servers) as producer:
        for number in range(PARTITIONS):
            log = read_range(reader, TopicPartition(source.topic_names().windows, number))
            await clients.send_all(producer, topic, number, [(r.key, r.value, list(r.headers)) async for r in log])


async def _spent(
    stack: LocalStack, settings: Settings, topic: str, service: ServiceProcess, expected: int | None
) -> tuple[float, int]:
    """CPU of a service's process per record that it writes to a topic (ms), and how many; expected: None until it is
    quiet. Raises Failed."""
    looks: list[tuple[int, float]] = []
    process = psutil.Process(service.child.pid)
    moved = began = time.monotonic()
    async with clients.reader(stack.bootstrap_servers) as reader:
        while True:
            count, times, now = await count_records(reader, settings, topic), process.cpu_times(), time.monotonic()
            moved = now if not looks or count > looks[-1][0] else moved
            looks.append((count, times.user + times.system))
            if count == expected or (expected is None and count and now - moved > QUIET_S):
                break
            if now - began > WITHIN_S or not service.child.running:
                raise RunFailed(f"{service.name}: only {count} records within {now - began:.0f} s")
            await asyncio.sleep(0.05)
    begin, end = (next(look for look in looks if look[0] >= share * count) for share in BETWEEN)
    return (end[1] - begin[1]) / (end[0] - begin[0]) * 1e3, count


def measure_media_ms(step_ms: int) -> float:
    """CPU to decode the media of one step of windows and to make the encoders' input of them (ms), measured alone."""
    model, made = load_model(resolve_checkpoint(load().fusion.model), "cpu"), make_payloads(LOAD)
    spent_s = 0.0
    for modality, count in PER_SECOND.items():
        began = time.process_time()
        for body in made[modality]:
            value = MODALITIES[modality].decode(body, TYPES[modality])
            if modality != AUDIO:  # made ready once for a segment, not for a chunk
                model.prepare(modality, value)
        spent_s += (time.process_time() - began) / len(made[modality]) * count * step_ms / 1000
    return spent_s * 1e3


async def measure(folder: Path, cases: Sequence[FusionProfileCase], rounds: int) -> dict[str, dict[str, float]]:
    """Return the figures of each case."""
    rows: dict[str, dict[str, float]] = {}
    async with LocalStack(folder, load(kafka={"bootstrap_servers": ""}, redis={"url": ""})) as stack:
        of: AlignedBacklog | None = None
        for case in cases:
            if of is None or (of.job.size_ms, of.job.hop_ms) != (case.size_ms, case.hop_ms):
                of = await align_backlog(stack, case)
            row = median_of_each([await measure_fusion(stack, of, case) for _ in range(rounds)])
            row |= {"events": of.events / of.windows, "aligner_ms": of.ms}
            row["media_ms"] = statistics.median(measure_media_ms(case.hop_ms) for _ in range(rounds))
            rows[case.name] = row
            sys.stderr.write(f"{case.name}: {json.dumps(row)}\n")
    return rows


def render_page(rows: Mapping[str, Mapping[str, float]], of: Mapping[str, Any]) -> str:
    """Return the page of results."""
    lines = [
        "# CPU of the fusion worker per window, without a model",
        "",
        f"`make profile-fusion` on {of['cpus']} CPUs ({of['architecture']}), commit {of['commit']}, {of['began']}, load average "
        f"{of['load_before']:g}. Load: class A of",
        "[performance](../performance.md) with frames of 640 x 360; the real worker with a stub as its device works through a "
        "backlog of windows.",
        f"Medians of {ROUNDS} runs.",
        "",
        "Counted: reading windows, payloads from Redis, decoding each chunk once and preparing the encoder input, waiting for "
        "the stub,",
        "explanation, events, publishing, commits, metrics. Not counted: the model, Redis, the broker, early predictions. "
        '"Media" is',
        "decoding and preparing alone, measured by itself. The bare loop reads the same windows and does nothing.",
        "",
        "| windows, batches | new events per window | fusion, ms | bare loop, ms | media, ms | without media, ms | aligner, ms "
        "| windows per batch | encodes per input | resident MB |",
        "|---|" + "---:|" * 9,
    ]
    for name, row in rows.items():
        lines.append(
            f"| {name} | {row['events']:.1f} | {row['ms']:.2f} | {row['bare_ms']:.3f} | {row['media_ms']:.2f} "
            f"| {row['ms'] - row['media_ms']:.2f} | {row['aligner_ms']:.2f} | {row['batch']:.1f} | {row['per_item']:.3f} "
            f"| {row['resident_mb']:.0f} |"
        )
    return "\n".join(lines) + "\n"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", help="measure only cases whose name contains this, once, and write nothing")
    only = parser.parse_args().case
    of = describe_machine()
    with tempfile.TemporaryDirectory(prefix="braid-bench-") as folder:
        rows = await measure(Path(folder), [case for case in CASES if (only or "") in case.name], 1 if only else ROUNDS)
    print_page(render_page(rows, of), "fusion-profile.md", write=not only)


if __name__ == "__main__":
    asyncio.run(main())
