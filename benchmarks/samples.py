"""What py-spy saw of a service, in its raw form: a line for each stack, with how often it was seen."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

SHOWN, HZ = 15, 250
LOOP, POOL = "run_forever", "concurrent/futures/thread.py"
# The innermost frame of a thread that only waits.
WAITING = (
    "select (selectors.py",
    "wait (threading.py",
    "_worker (concurrent/futures/thread.py",
    "_busy (benchmarks/stub",
)


@dataclass(frozen=True, slots=True)
class Spied:
    """What is looked at of a service: threads that have one of these frames, and the layers that its frames belong to.

    A sample counts for the first layer in which one of its frames lies, the innermost first.
    """

    threads: tuple[str, ...]
    layers: Mapping[str, tuple[str, ...]]


ALIGNER = Spied((LOOP,), {
    "admission": ("aligner/admit.py", "aligner/gate.py", "contract/envelope.py", "contract/moment.py",
                  "contract/media", "contract/murmur2.py"),
    "alignment": ("aligner/align.py", "aligner/floor.py", "aligner/mask.py", "aligner/session.py",
                  "contract/semantics.py", "contract/chunk.py"),
    "partition and patience": ("aligner/partition.py", "aligner/patience.py"),
    "reading in step": ("aligner/instep.py",),
    "window records as JSON": ("contract/window.py", "contract/canonical.py", "json/encoder.py"),
    "payloads to Redis": ("services/payloads", "redis/", "hiredis"),
    "metrics": ("aligner/observe.py", "prometheus_client"),
    "sending": ("aligner/emit.py", "aiokafka/producer"),
    "fetching": ("aiokafka/consumer",),
    "Kafka's protocol and sockets": ("aiokafka/", "asyncio/selector_events.py", "asyncio/streams.py"),
    "worker and intake": ("services/",),
    "Faust, mode and the event loop": ("faust/", "mode/", "asyncio/"),
})  # fmt: skip
FUSION = Spied((LOOP, POOL), {
    "pictures: decoding, as input": ("decode/image.py", "encoders/picture.py", "encoders/image.py", "PIL/"),
    "sound: decoding, cutting, as input": ("decode/audio.py", "model/segments.py", "prepare_segment"),
    "text: decoding, as input": ("decode/text.py", "encoders/words.py", "encoders/text.py"),
    "the stub": ("benchmarks/stub.py",),
    "explanation": ("model/explain.py", "fusion/without.py"),
    "prediction records as JSON": ("contract/prediction.py",),
    "digests and ids of windows": ("contract/window.py",),
    "events and states": ("fusion/events.py", "fusion/decide.py", "fusion/ahead.py"),
    "metrics and drift": ("fusion/observe.py", "fusion/drift.py", "prometheus_client", "fusion/trace.py"),
    "latency headers": ("latency_header (",),
    "payloads from Redis": ("services/payloads", "redis/", "hiredis", "fusion/fetch.py"),
    "caches and keys": ("fusion/cache.py", "key_of (", "place_of ("),
    "windows made ready": ("fusion/infer.py", "fusion/decoded.py", "fusion/degrade.py"),
    "batcher and overload": ("fusion/batch.py", "fusion/overload.py", "fusion/latency.py", "fusion/behind.py",
                             "fusion/resume.py"),
    "sending": ("fusion/publish.py", "aiokafka/producer", "send_all ("),
    "fetching": ("aiokafka/consumer",),
    "Kafka's protocol and sockets": ("aiokafka/", "asyncio/selector_events.py", "asyncio/streams.py"),
    "window records read, worker, stages, intake": ("services/",),
    "Faust, mode and the event loop": ("faust/", "mode/", "asyncio/", "concurrent/"),
})  # fmt: skip


@asynccontextmanager
async def spying(pid: int, raw: Path) -> AsyncIterator[None]:
    """Has py-spy look at a process until the context is left, and write what it saw."""
    spy = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).parent / "py-spy"), "record", "--pid", str(pid), "--rate", str(HZ)),
        *("--format", "raw", "--output", str(raw), "--duration", "600"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        spy.send_signal(2)
        await spy.wait()


def layers(raw: Path, of: Spied) -> dict[str, float]:
    """The share of each layer in the samples of a service's threads, waiting left out."""
    counts: Counter[str] = Counter()
    for frames, count in _samples(raw, of):
        counts[
            next((n for f in reversed(frames) for n, parts in of.layers.items() if any(p in f for p in parts)), "?")
        ] += count
    return {name: count / counts.total() for name, count in counts.most_common()}


def functions(raw: Path, of: Spied) -> dict[str, tuple[float, float]]:
    """Functions by the share of samples in themselves; beside it that of samples in them or in what they call."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for frames, count in _samples(raw, of):
        named = [frame.rpartition(":")[0] for frame in frames]
        own[named[-1]] += count
        whole.update(dict.fromkeys(named, count))
    return {f"{name})": (count / own.total(), whole[name] / own.total()) for name, count in own.most_common(SHOWN)}


def _samples(raw: Path, of: Spied) -> Iterator[tuple[list[str], int]]:
    """Frames, the outermost first, and how often they were seen: of a service's threads, while they did not wait."""
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if any(name in frame for name in of.threads for frame in frames) and not any(w in frames[-1] for w in WAITING):
            yield frames, int(count)
