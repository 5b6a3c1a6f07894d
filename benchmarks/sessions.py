"""Measure what an open session costs the aligner: CPU per chunk and memory, for 100 to 10,000 sessions in a partition.

`python -m benchmarks.sessions`. AdmissionLimits and alignment run in one process, without Kafka: every half second each session
sends a frame, a text and half a second of audio; records come in batches, windows are acknowledged and commit offsets
computed as in the service. The measurement begins when windows are published steadily. Each number of sessions runs in a
process of its own, several times, interleaved; the fastest run of each counts.

`--sizes 2 4 10` measures windows of these seconds every half second instead, with ten chunks of audio a second: CPU per event
without window records, and CPU per window record (members, states and bytes).
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

from services.aligner import alignment
from services.aligner.idleness import IdleTimeouts
from services.aligner.partition import Partition
from services.aligner.recovery import InitialState
from services.aligner.window_builder import build_window
from services.contract import cloudevents
from services.contract.alignment_config import AlignmentConfig
from services.contract.kafka_record import LogRecord
from services.contract.topics import Topics
from services.contract.window import Window, encode
from services.runtime.process import collect_cycles_rarely
from tests.simulation.broker import FakeRecord

COUNTS = (100, 1_000, 10_000)
ROUND_MS = 500
WARM_UP_ROUNDS = 8
EPOCH_MS = 1_700_000_000_000
BATCH = 2_000
RUNS = 3
PCM = bytes(8_000)
JPEG = b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x08\x00\x08\x03" + bytes(500)
BODIES = {
    "text": ("text/plain", b"hello"),
    "video": ("image/jpeg", JPEG),
    "audio": ("audio/pcm;rate=8000;channels=1;format=s16le", PCM),
}
RESULT = Path(__file__).parents[1] / "docs" / "results" / "sessions.md"


def round_records(
    number: int, sessions: int, offsets: dict[str, int], audio_chunks: int = 1
) -> Iterator[tuple[str, LogRecord]]:
    """Yield what all devices send in one half second, with the modality of each record."""
    begin_ms = EPOCH_MS + number * ROUND_MS
    sent = [("text", begin_ms), ("video", begin_ms)]
    sent += [("audio", begin_ms + at * ROUND_MS // audio_chunks) for at in range(audio_chunks)]
    for n in range(sessions):
        for modality, t_ms in sent:
            content_type, body = BODIES[modality]
            if modality == "audio":
                body = body[: len(body) // audio_chunks]
            headers = cloudevents.build_headers(
                session=f"home {n}",
                source=f"/devices/{n}/{modality}",
                id=str(t_ms),
                type=cloudevents.media_type(modality),
                t_us=t_ms * 1000,
                content_type=content_type,
            )
            offsets[modality] += 1
            yield modality, FakeRecord(offsets[modality], begin_ms + ROUND_MS, f"home {n}".encode(), body, headers)


def measure(
    sessions: int, chunks: int, config: AlignmentConfig | None = None, audio_chunks: int = 1
) -> dict[str, float]:
    """Return CPU per chunk (us) with and without window records, CPU per record, windows, and resident memory (MB)."""
    topics, semantics = Topics(), config or AlignmentConfig()
    patience = IdleTimeouts(
        {"text": 1_500_000, "video": 1_000_000, "audio": 700_000}, 3_000_000, 300_000, retained_max=10**8
    )
    building_s = 0.0

    def timed_build(*arguments: Any, **options: Any) -> Window:
        nonlocal building_s
        since = time.process_time()
        built: Window = build_window(*arguments, **options)
        building_s += time.process_time() - since
        return built

    patch = mock.patch.object(alignment, "build_window", timed_build)
    if config is not None:
        patch.start()
    start = InitialState(dict.fromkeys(topics.modalities, 0), {}, {}, {})
    partition = Partition(0, 1, semantics, patience, topics, 60_000_000, start)
    collect_cycles_rarely()
    offsets = dict.fromkeys(topics.modalities, -1)
    per_round = sessions * (len(BODIES) - 1 + audio_chunks)
    rounds, warm_up = max(chunks // per_round, 4), WARM_UP_ROUNDS + semantics.size_us // semantics.hop_us - 4
    spent, spent_on_records, windows = 0.0, 0.0, 0
    for number in range(warm_up + rounds):
        records, finals, generated_s = round_records(number, sessions, offsets, audio_chunks), 0, 0.0
        building_s, encoding_s = 0.0, 0.0
        began = time.process_time()
        while True:
            # Generate records batch by batch, as a consumer decodes them: a whole round would have left the CPU caches.
            since = time.process_time()
            batch = list(islice(records, BATCH))
            generated_s += time.process_time() - since
            if not batch:
                break
            emitted = partition.process(batch, number * ROUND_MS * 1000).windows
            if config is not None:
                since = time.process_time()
                for window in emitted:
                    encode(window)
                encoding_s += time.process_time() - since
            for window in emitted:
                if window.final:
                    finals += 1
                    partition.on_window_acknowledged(window, (EPOCH_MS + number * ROUND_MS) * 1000)
        partition.commit_offsets((EPOCH_MS + number * ROUND_MS) * 1000)
        for frontier in partition.due_frontiers():
            partition.coverage.on_frontier_acknowledged(frontier.session, frontier.start_us)
        if number >= warm_up:
            spent += time.process_time() - began - generated_s
            spent_on_records += building_s + encoding_s
            windows += finals
    if config is not None:
        patch.stop()
    count = rounds * per_round
    assert windows == rounds * sessions, "not every session had a window every half second"
    assert len(partition.aligner.sessions) == sessions
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "sessions": sessions,
        "us": spent / count * 1e6,
        "events_us": (spent - spent_on_records) / count * 1e6,
        "record_us": spent_on_records / windows * 1e6,
        "memory_mb": memory_mb,
        "windows": windows,
    }


def measure_sizes(sizes_s: Sequence[int], chunks: int, runs: int) -> str:
    """Return a table of CPU by the length of windows; the fastest run of each length counts, interleaved."""
    rows: dict[int, list[dict[str, float]]] = {size_s: [] for size_s in sizes_s}
    for _ in range(runs):
        for size_s, measured in rows.items():
            measured.append(measure(100, chunks, AlignmentConfig(size_us=size_s * 1_000_000), audio_chunks=5))
    best = {
        size_s: tuple(min(row[name] for row in measured) for name in ("events_us", "record_us"))
        for size_s, measured in rows.items()
    }
    lines = [
        f"| {size_s} s / 0.5 s | {events_us / best[sizes_s[0]][0]:.2f} | {events_us:.1f} | {record_us:.0f} |"
        for size_s, (events_us, record_us) in best.items()
    ]
    head = "| windows | CPU per event without records, ratio | us | us per window record |\n|---|---:|---:|---:|\n"
    return head + "\n".join(lines) + "\n"


def main() -> int:
    """Measure every number of sessions; return 0 if neither CPU per chunk nor memory grows beyond its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=120_000, help="chunks measured in each run, at least four rounds")
    parser.add_argument(
        "--counts", type=int, nargs="+", default=COUNTS, help="numbers of sessions; ratios are to the first"
    )
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each number of sessions; the fastest counts")
    parser.add_argument("--one", type=int, help="measure one number of sessions in this process and print JSON")
    parser.add_argument(
        "--sizes", type=int, nargs="+", help="measure windows of these seconds instead and print a table"
    )
    parser.add_argument("--write", action="store_true", help="write docs/results/sessions.md")
    options = parser.parse_args()
    if options.one:
        sys.stdout.write(json.dumps(measure(options.one, options.chunks)) + "\n")
        return 0
    if options.sizes:
        sys.stdout.write(measure_sizes(options.sizes, options.chunks, options.runs))
        return 0
    best: dict[int, dict[str, float]] = {}
    for _ in range(options.runs):
        for sessions in options.counts:
            command = [
                sys.executable,
                "-m",
                "benchmarks.sessions",
                "--one",
                str(sessions),
                "--chunks",
                str(options.chunks),
            ]
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            if sessions not in best or row["us"] < best[sessions]["us"]:
                best[sessions] = row
            sys.stderr.write(f"{sessions:6} sessions  {row['us']:.1f} us a chunk\n")
    table = "\n".join(
        f"| {count:,} | {row['us'] / best[options.counts[0]]['us']:.2f} | {row['us']:.0f} | {row['memory_mb']:.0f} |"
        for count, row in best.items()
    )
    page_table = f"| open sessions | CPU per chunk, ratio | us | resident MB |\n|---:|---:|---:|---:|\n{table}\n"
    sys.stdout.write(page_table)
    if options.write:
        RESULT.write_text(
            f"# Cost of an open session\n\n`make bench-sessions` on {platform.machine()}, Python "
            f"{platform.python_version()}: admission and alignment of a frame, a text and half a second of audio per "
            "session every half second, without\npayloads (Redis holds them). Ratios carry over to other machines, "
            f"microseconds do not.\n\n{page_table}"
        )
    # The state of a hundred sessions fits into a core's cache, that of more does not: hence a factor of 2.
    is_flat = max(row["us"] for row in best.values()) <= 2 * best[options.counts[0]]["us"]
    is_small = best[options.counts[-1]]["memory_mb"] < 1024
    return 0 if is_flat and is_small else 1


if __name__ == "__main__":
    sys.exit(main())
