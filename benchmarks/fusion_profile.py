"""Measure the fusion worker's CPU per window without a model, on a real broker and Redis (`make profile-fusion`).

The load of class A (13 events per session and second: ten of audio, two frames of 640 x 360, one text; some late, repeated,
broken) is aligned once by the real aligner. For each run the windows are copied to fresh topics, where a fusion worker with
a stub processes them as a backlog. CPU comes from the operating system and progress from the ends of the topics, so that
neither start nor idle time counts. A bare aiokafka loop reads the same windows and does nothing.
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
from typing import Any, NamedTuple

import psutil
from aiokafka import TopicPartition

from benchmarks.alignment_run import QUIET_S, count_records, job_settings, reset_redis, send_load
from benchmarks.bare_consumer import measure_bare_consumer
from benchmarks.device_load import PER_SECOND, TYPES, DeviceLoad, make_payloads
from benchmarks.results import describe_machine, median_of_each, print_page
from benchmarks.shipped_streams import PAYLOAD_TTL_S, STUB_ENVIRONMENT
from benchmarks.systems import BenchmarkJob, braid_environment
from benchmarks.whole_system import RunFailed
from model.checkpoint import load as load_model
from model.checkpoint_files import resolve_checkpoint
from services.fusion.stage_values import AUDIO
from services.kafka import clients, topic_admin
from services.kafka.log_reader import read_range
from services.local.services import ServiceProcess
from services.local.stack import LocalStack
from services.runtime.settings import Settings, load

PARTITIONS, ROUNDS, TIMEOUT_S = 8, 3, 120.0
LOAD = DeviceLoad(sessions=50, seconds=40, frames=True)
# Without Redis: sessions follow each other, so that the windows whose turn it is have payloads all over the logs.
FROM_LOG_LOAD, FROM_LOG_TIMEOUT_S = DeviceLoad(sessions=20, seconds=100, life_s=20, frames=True), 900.0
COUNTERS = (
    "batches_total",
    "predictions_total",
    "members_unusable_total",
    "encoder_items_total",
    "encoder_items_again_total",
)
# Shares of a backlog's records: before the first the service still starts, after the second the last records wait.
MEASURED_SHARES = (0.1, 0.9)


@dataclass(frozen=True, slots=True)
class FusionProfileCase:
    """Size and step of the windows (ms), and how many of them form a batch."""

    name: str
    size_ms: int
    hop_ms: int
    batch: int


CASES = (
    FusionProfileCase("4 s / 1 s, batches of 8", 4_000, 1_000, 8),
    FusionProfileCase("4 s / 1 s, batches of 64", 4_000, 1_000, 64),
    FusionProfileCase("2 s / 0.5 s, batches of 8", 2_000, 500, 8),
)


class MeasuredRun(NamedTuple):
    """CPU (ms) per record that a service wrote, how many it wrote a second, and how many in all."""

    ms: float
    per_s: float
    records: int


@dataclass(frozen=True, slots=True)
class AlignedBacklog:
    """Windows in their topic: settings and job, their number, that of the events, and the aligner's CPU per window."""

    settings: Settings
    job: BenchmarkJob
    windows: int
    events: int
    aligner_ms: float


async def align_backlog(stack: LocalStack, case: FusionProfileCase, load: DeviceLoad = LOAD) -> AlignedBacklog:
    """Send a load and let the aligner process it. Payloads stay in Redis, where keys do not depend on topic names."""
    job = BenchmarkJob(f"f{secrets.token_hex(4)}", PARTITIONS, case.size_ms, case.hop_ms)
    settings = await create_topics(stack, job)
    await reset_redis(stack)
    report = await send_load(stack, job, load, live=False)
    aligner = ServiceProcess(
        "aligner", stack.folder, braid_environment(stack, job) | {"BRAID_REDIS__TTL_S": str(PAYLOAD_TTL_S)}
    )
    aligner.start()
    try:
        run = await _measure_run(stack, settings, settings.topic_names().windows, aligner, None)
    finally:
        await aligner.child.stop(10)
    return AlignedBacklog(settings, job, run.records, report["records"], run.ms)


async def measure_fusion(stack: LocalStack, backlog: AlignedBacklog, case: FusionProfileCase) -> dict[str, float]:
    """Copy the windows to fresh topics and let a worker process them; return its figures and the bare loop's."""
    job = replace(backlog.job, prefix=f"f{secrets.token_hex(4)}")
    settings = await create_topics(stack, job)
    await copy_windows(stack, backlog.settings, settings)
    figures = await _process_backlog(stack, settings, job, backlog.windows, case, TIMEOUT_S)
    bare_s = await measure_bare_consumer(
        stack.bootstrap_servers, [settings.topic_names().windows], backlog.windows, 256
    )
    return figures | {"bare_ms": bare_s * 1e3}


async def measure_from_log(folder: Path, case: FusionProfileCase, rounds: int) -> dict[str, float]:
    """Return the figures of a backlog whose payloads are no longer in Redis."""
    async with LocalStack(folder, load(kafka={"bootstrap_servers": ""}, redis={"url": ""})) as stack:
        figures = []
        for _ in range(rounds):
            backlog = await align_backlog(stack, case, FROM_LOG_LOAD)
            await reset_redis(stack)
            windows, job = backlog.windows, backlog.job
            row = await _process_backlog(stack, backlog.settings, job, windows, case, FROM_LOG_TIMEOUT_S)
            figures.append(row | {"windows": windows})
            sys.stderr.write(f"from the log: {json.dumps(figures[-1])}\n")
        return median_of_each(figures)


async def _process_backlog(
    stack: LocalStack, settings: Settings, job: BenchmarkJob, windows: int, case: FusionProfileCase, timeout_s: float
) -> dict[str, float]:
    """Let a worker process the windows of a job's topics; return its figures."""
    environment = braid_environment(stack, job) | STUB_ENVIRONMENT | {"STUB_BATCH": str(case.batch)}
    fusion = ServiceProcess("fusion", stack.folder, environment, module="benchmarks.stub_model")
    fusion.start()
    try:
        await fusion.wait_until_ready()
        predictions = settings.topic_names().predictions
        run = await _measure_run(stack, settings, predictions, fusion, windows, timeout_s)
        figures = {
            "ms": run.ms,
            "per_s": run.per_s,
            "resident_mb": psutil.Process(fusion.child.pid).memory_info().rss / 2**20,
        } | _read_counters(fusion)
    finally:
        await fusion.child.stop(10)
    return figures


def _read_counters(fusion: ServiceProcess) -> dict[str, float]:
    """Return the worker's figures; raise RunFailed if it could not use all chunks."""
    counts = {name: fusion.read_metric(f"braid_{name}") for name in COUNTERS}
    if counts["members_unusable_total"]:
        raise RunFailed(f"{counts['members_unusable_total']:.0f} members could not be used")
    windows = counts["predictions_total"]
    items = counts["encoder_items_total"]
    return {
        "batch": windows / counts["batches_total"],
        "encoded": items / windows,
        "per_item": items / (items - counts["encoder_items_again_total"]),
    }


async def create_topics(stack: LocalStack, job: BenchmarkJob) -> Settings:
    """Create the topics of a job and return the settings that name them."""
    settings = job_settings(stack, job)
    async with clients.admin(stack.bootstrap_servers) as admin:
        await topic_admin.create_missing_topics(admin, settings)
    return settings


async def copy_windows(stack: LocalStack, source: Settings, target: Settings) -> None:
    """Copy the window records from one prefix to another, each in its partition and in order."""
    topic = target.topic_names().windows
    # The producer signs them for their new topic.
    async with clients.reader(stack.bootstrap_servers) as reader, clients.producer(target.kafka) as producer:
        for number in range(PARTITIONS):
            log = read_range(reader, TopicPartition(source.topic_names().windows, number))
            await clients.send_all(producer, topic, number, [(r.key, r.value, list(r.headers)) async for r in log])


async def _measure_run(
    stack: LocalStack,
    settings: Settings,
    topic: str,
    service: ServiceProcess,
    expected: int | None,
    timeout_s: float = TIMEOUT_S,
) -> MeasuredRun:
    """Measure the CPU and the rate of a service by the records that it writes to a topic.

    Args:
        stack: The local stack.
        settings: The settings that name the topics.
        topic: The topic that the service writes to.
        service: The running service.
        expected: The number of records to wait for; None waits until no more are written.
        timeout_s: How long to wait.

    Raises:
        RunFailed: The service ends, or the records do not come in time.
    """
    readings: list[tuple[int, float, float]] = []
    process = psutil.Process(service.child.pid)
    last_change = began = time.monotonic()
    async with clients.reader(stack.bootstrap_servers) as reader:
        while True:
            count, times, now = await count_records(reader, settings, topic), process.cpu_times(), time.monotonic()
            last_change = now if not readings or count > readings[-1][0] else last_change
            readings.append((count, times.user + times.system, now))
            if count == expected or (expected is None and count and now - last_change > QUIET_S):
                break
            if now - began > timeout_s or not service.child.running:
                raise RunFailed(f"{service.name}: only {count} records within {now - began:.0f} s")
            await asyncio.sleep(0.05)
    begin, end = (next(reading for reading in readings if reading[0] >= share * count) for share in MEASURED_SHARES)
    done = end[0] - begin[0]
    return MeasuredRun((end[1] - begin[1]) / done * 1e3, done / (end[2] - begin[2]), count)


def measure_media_ms(step_ms: int) -> float:
    """Measure the CPU (ms) to decode the media of one window step and to prepare the encoders' inputs."""
    model, payloads = load_model(resolve_checkpoint(load().fusion.model), "cpu"), make_payloads(LOAD)
    cpu_s = 0.0
    for modality, count in PER_SECOND.items():
        began = time.process_time()
        for payload in payloads[modality]:
            value = model.decode(modality, payload, TYPES[modality])
            if modality != AUDIO:  # prepared once per segment, not per chunk
                model.prepare(modality, value)
        cpu_s += (time.process_time() - began) / len(payloads[modality]) * count * step_ms / 1000
    return cpu_s * 1e3


async def measure(folder: Path, cases: Sequence[FusionProfileCase], rounds: int) -> dict[str, dict[str, float]]:
    """Return the figures of each case."""
    rows: dict[str, dict[str, float]] = {}
    async with LocalStack(folder, load(kafka={"bootstrap_servers": ""}, redis={"url": ""})) as stack:
        backlog: AlignedBacklog | None = None
        for case in cases:
            if backlog is None or (backlog.job.size_ms, backlog.job.hop_ms) != (case.size_ms, case.hop_ms):
                backlog = await align_backlog(stack, case)
            row = median_of_each([await measure_fusion(stack, backlog, case) for _ in range(rounds)])
            row |= {"events": backlog.events / backlog.windows, "aligner_ms": backlog.aligner_ms}
            row["media_ms"] = statistics.median(measure_media_ms(case.hop_ms) for _ in range(rounds))
            rows[case.name] = row
            sys.stderr.write(f"{case.name}: {json.dumps(row)}\n")
    return rows


def render_page(rows: Mapping[str, Mapping[str, float]], machine: Mapping[str, Any]) -> str:
    """Return the page of results."""
    lines = [
        "# CPU of the fusion worker per window, without a model",
        "",
        f"`make profile-fusion` on {machine['cpus']} CPUs ({machine['architecture']}), commit {machine['commit']}, {machine['began']}, load average "
        f"{machine['load_before']:g}. Load: class A of",
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
    """Measure every case, or those selected, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", help="measure only cases whose name contains this, once, and write nothing")
    parser.add_argument(
        "--from-log", action="store_true", help="print only the rate of a backlog without Redis, and write nothing"
    )
    arguments = parser.parse_args()
    only, machine = arguments.case, describe_machine()
    if arguments.from_log:
        with tempfile.TemporaryDirectory(prefix="braid-bench-") as folder:
            row = await measure_from_log(Path(folder), CASES[0], 1 if only else ROUNDS)
        print(json.dumps({"machine": machine, **row}))
        return
    with tempfile.TemporaryDirectory(prefix="braid-bench-") as folder:
        rows = await measure(Path(folder), [case for case in CASES if (only or "") in case.name], 1 if only else ROUNDS)
    print_page(render_page(rows, machine), "fusion-profile.md", write=not only)


if __name__ == "__main__":
    asyncio.run(main())
