"""Cut audio on the absolute hop grid, so that any chunking of the same audio gives the same segments. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

JOIN_TOLERANCE_US = 20_000
SORT_KEY = itemgetter(0, 1, 2)


class TimedSamples(NamedTuple):
    """The samples of one chunk, float32 [n], at its event time.

    `key` names the samples uniquely, if the caller has such a name.
    """

    t_us: int
    source: str
    id: str
    samples: NDArray[np.float32]
    key: Hashable = None


@dataclass(frozen=True, slots=True)
class Segment:
    """One hop of audio, float32 [hop samples], with zeros where nothing was received.

    `received` counts the samples that were received; `key` is the SHA-256 of the exact samples.
    """

    start_us: int
    samples: NDArray[np.float32]
    received: int
    key: str

    @property
    def complete(self) -> bool:
        """True if every sample was received."""
        return self.received == len(self.samples)


class GridSlot(NamedTuple):
    """One hop of the grid and the chunks that reach into it.

    `begin` and `length` are in samples; `placed` holds each chunk with its offset from `begin`, in order of precedence.
    """

    start_us: int
    begin: int
    length: int
    placed: Sequence[tuple[int, TimedSamples]]


def assign_to_grid(
    chunks: Sequence[TimedSamples], start_us: int, end_us: int, hop_us: int, rate: int
) -> list[GridSlot]:
    """Return the slots of [start_us, end_us) in which something was received, in order.

    A chunk within 20 ms of the previous end of its source is joined to it, else it starts at round(t * rate). Where chunks
    overlap, the first in the order (t, source, id) wins.

    Args:
        chunks: In any order.
        start_us: Begin of the range, on the hop grid.
        end_us: End of the range, on the hop grid.
        hop_us: Length of a slot in microseconds.
        rate: Samples per second.
    """
    begin, length = start_us * rate // 1_000_000, (end_us - start_us) * rate // 1_000_000
    hop = hop_us * rate // 1_000_000
    placed: dict[int, list[tuple[int, TimedSamples]]] = {}
    ends: dict[str, int] = {}
    whole, joined = length // hop * hop, JOIN_TOLERANCE_US * rate // 1_000_000
    for chunk in sorted(chunks, key=SORT_KEY):
        t_us, source, _, samples, _ = chunk
        start = round(t_us * rate / 1_000_000)
        end = ends.get(source)
        if end is not None and -joined <= start - end <= joined:
            start = end
        ends[source] = end = start + len(samples)
        low, high = start - begin, end - begin
        if low < high and low < whole and high > 0:
            first = low // hop if low > 0 else 0
            last = ((high if high < whole else whole) - 1) // hop
            for number in (first,) if first == last else range(first, last + 1):
                if number in placed:
                    placed[number].append((low - number * hop, chunk))
                else:
                    placed[number] = [(low - number * hop, chunk)]
    return [GridSlot(start_us + n * hop_us, begin + n * hop, hop, placed[n]) for n in sorted(placed)]


def render_segment(slot: GridSlot) -> Segment:
    """Render the audio of a slot; it depends only on the samples and offsets of its chunks."""
    samples = np.zeros(slot.length, np.float32)
    filled = np.zeros(slot.length, np.bool_)
    end = 0
    for offset, chunk in slot.placed:
        low, high = max(offset, 0), min(offset + len(chunk.samples), slot.length)
        if low >= end:
            samples[low:high] = chunk.samples[low - offset : high - offset]
        else:
            free = ~filled[low:high]
            samples[low:high][free] = chunk.samples[low - offset : high - offset][free]
        filled[low:high] = True
        end = max(end, high)
    key = hashlib.sha256(samples.tobytes()).hexdigest()
    return Segment(slot.start_us, samples, int(filled.sum()), key)


def cut_segments(chunks: Sequence[TimedSamples], start_us: int, end_us: int, hop_us: int, rate: int) -> list[Segment]:
    """Return the segments of [start_us, end_us) in which something was received, in order; see `assign_to_grid`."""
    return [render_segment(slot) for slot in assign_to_grid(chunks, start_us, end_us, hop_us, rate)]
