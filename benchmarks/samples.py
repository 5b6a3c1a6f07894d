"""What py-spy saw of the aligner, in its raw form: a line for each stack, with how often it was seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

SHOWN = 15
# A sample counts for the first of these in which one of its frames lies, the innermost first.
LAYERS = {
    "waiting": ("select (selectors.py",),
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
}  # fmt: skip


def layers(raw: Path) -> dict[str, float]:
    """The share of each layer in the samples of the event loop's thread, waiting left out."""
    counts: Counter[str] = Counter()
    for frames, count in _samples(raw):
        counts[
            next((n for f in reversed(frames) for n, parts in LAYERS.items() if any(p in f for p in parts)), "?")
        ] += count
    return {name: count / counts.total() for name, count in counts.most_common()}


def functions(raw: Path) -> dict[str, tuple[float, float]]:
    """Functions by the share of samples in themselves; beside it that of samples in them or in what they call."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for frames, count in _samples(raw):
        named = [frame.rpartition(":")[0] for frame in frames]
        own[named[-1]] += count
        whole.update(dict.fromkeys(named, count))
    return {f"{name})": (count / own.total(), whole[name] / own.total()) for name, count in own.most_common(SHOWN)}


def _samples(raw: Path) -> Iterator[tuple[list[str], int]]:
    """Frames, the outermost first, and how often they were seen: of the event loop's thread, while it did not wait."""
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if any("run_forever" in frame for frame in frames) and not any(w in frames[-1] for w in LAYERS["waiting"]):
            yield frames, int(count)
