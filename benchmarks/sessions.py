"""What an open session costs the aligner: CPU per chunk and memory, from 100 to 10,000 sessions in one partition number.

`python -m benchmarks.sessions`. The pure core with admission, in one process: each session sends a frame, a text and
half a second of sound each half second, records come in batches as the service hands them over, windows are
acknowledged and floors asked for as by its commits. What is measured begins when windows come out steadily. Each count
runs in a process of its own, several times, interleaved; the quickest run of each counts.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from services.aligner.idleness import Patience
from services.aligner.partition import Partition
from services.aligner.recovery import Start
from services.contract import cloudevents
from services.contract.alignment_config import Semantics
from services.contract.record import LogRecord
from services.contract.topics import Topics
from services.runtime.gc_tuning import collect_cycles_rarely
from tests.simulation.broker import FakeRecord

COUNTS = (100, 1_000, 10_000)
ROUND_MS = 500
WARM_ROUNDS = 8
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


def round_records(number: int, sessions: int, offsets: dict[str, int]) -> Iterator[tuple[str, LogRecord]]:
    """What all devices send in one half second."""
    t_ms = EPOCH_MS + number * ROUND_MS
    for n in range(sessions):
        for modality, (content_type, body) in BODIES.items():
            headers = cloudevents.build(
                session=f"home {n}",
                source=f"/devices/{n}/{modality}",
                id=str(number),
                type=cloudevents.media_type(modality),
                t_us=t_ms * 1000,
                content_type=content_type,
            )
            offsets[modality] += 1
            yield modality, FakeRecord(offsets[modality], t_ms + ROUND_MS, f"home {n}".encode(), body, headers)


def measure(sessions: int, chunks: int) -> dict[str, float]:
    """CPU per chunk in us, windows, and resident memory in MB of this very process."""
    topics, semantics = Topics(), Semantics()
    patience = Patience({"text": 1_500_000, "video": 1_000_000, "audio": 700_000}, 3_000_000, 300_000, held_max=10**8)
    start = Start(dict.fromkeys(topics.modalities, 0), {}, {}, {})
    partition = Partition(0, 1, semantics, patience, topics, 60_000_000, start)
    collect_cycles_rarely()
    offsets = dict.fromkeys(topics.modalities, -1)
    rounds = max(chunks // (sessions * len(BODIES)), 4)
    spent, windows = 0.0, 0
    for number in range(WARM_ROUNDS + rounds):
        records, out, made_s = round_records(number, sessions, offsets), 0, 0.0
        began = time.process_time()
        while True:
            # Made as they are taken, as a consumer does: a whole round of 10,000 sessions would be cold by then.
            since = time.process_time()
            batch = list(islice(records, BATCH))
            made_s += time.process_time() - since
            if not batch:
                break
            for window in partition.take(batch, number * ROUND_MS * 1000).windows:
                if window.final:
                    out += 1
                    partition.acknowledged(window, (EPOCH_MS + number * ROUND_MS) * 1000)
        partition.floors()
        for frontier in partition.to_cover():
            partition.coverage.covered(frontier.session, frontier.start_us)
        if number >= WARM_ROUNDS:
            spent += time.process_time() - began - made_s
            windows += out
    count = rounds * sessions * len(BODIES)
    assert windows == rounds * sessions, "not each session had a window out each half second"
    assert len(partition.aligner.sessions) == sessions
    memory_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"sessions": sessions, "us": spent / count * 1e6, "memory_mb": memory_mb, "windows": windows}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=120_000, help="measured in each run, at least four rounds")
    parser.add_argument(
        "--counts", type=int, nargs="+", default=COUNTS, help="so many sessions, the first to compare with"
    )
    parser.add_argument("--runs", type=int, default=RUNS, help="of each, the quickest counts")
    parser.add_argument("--one", type=int, help="one count in this process, as JSON")
    parser.add_argument("--write", action="store_true", help="write docs/results/sessions.md")
    asked = parser.parse_args()
    if asked.one:
        sys.stdout.write(json.dumps(measure(asked.one, asked.chunks)) + "\n")
        return 0
    best: dict[int, dict[str, float]] = {}
    for _ in range(asked.runs):
        for sessions in asked.counts:
            words = [sys.executable, "-m", "benchmarks.sessions", "--one", str(sessions), "--chunks", str(asked.chunks)]
            found = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
            if sessions not in best or found["us"] < best[sessions]["us"]:
                best[sessions] = found
            sys.stderr.write(f"{sessions:6} sessions  {found['us']:.1f} us a chunk\n")
    table = "\n".join(
        f"| {count:,} | {row['us'] / best[asked.counts[0]]['us']:.2f} | {row['us']:.0f} | {row['memory_mb']:.0f} |"
        for count, row in best.items()
    )
    told = f"| open sessions | CPU per chunk, ratio | us | resident MB |\n|---:|---:|---:|---:|\n{table}\n"
    sys.stdout.write(told)
    if asked.write:
        RESULT.write_text(
            f"# Cost of an open session\n\n`make bench-sessions` on {platform.machine()}, Python "
            f"{platform.python_version()}: admission and alignment of a frame, a text and half a second of audio per "
            "session every half second, without\npayloads (Redis holds them). Ratios carry over to other machines, "
            f"microseconds do not.\n\n{told}"
        )
    # The state of a hundred sessions stays in a core's own cache, that of more does not.
    flat = max(row["us"] for row in best.values()) <= 2 * best[asked.counts[0]]["us"]
    small = best[asked.counts[-1]]["memory_mb"] < 1024
    return 0 if flat and small else 1


if __name__ == "__main__":
    sys.exit(main())
