"""Sound re-cut on the absolute hop grid, so that any chunking of the same sound gives the same segments. Pure."""

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
    """Samples float32 [n] of one chunk, its time and where it is from; key: a name that no other samples have, if any."""

    t_us: int
    source: str
    id: str
    samples: NDArray[np.float32]
    key: Hashable = None


@dataclass(frozen=True, slots=True)
class Segment:
    """One hop of sound, float32 [hop samples], zeros where nothing was received; key: sha256 of the exact samples."""

    start_us: int
    samples: NDArray[np.float32]
    received: int
    key: str

    @property
    def complete(self) -> bool:
        return self.received == len(self.samples)


class GridSlot(NamedTuple):
    """One hop of the grid in which something was received: its place, and the stretches that reach into it.

    begin, length: in samples; placed: where each stretch begins, against `begin`, in the order in which they count.
    """

    start_us: int
    begin: int
    length: int
    placed: Sequence[tuple[int, TimedSamples]]


def assign_to_grid(
    chunks: Sequence[TimedSamples], start_us: int, end_us: int, hop_us: int, rate: int
) -> list[GridSlot]:
    """The slots of [start_us, end_us) in which something was received, in order.

    A chunk within 20 ms of its source's previous end is placed there, else at round(t * rate); where chunks overlap
    the first in order of (t, source, id) stays. start_us and end_us lie on the hop grid.
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
            first, last = max(low, 0) // hop, (min(high, whole) - 1) // hop
            for number in range(first, last + 1):
                placed.setdefault(number, []).append((low - number * hop, chunk))
    return [GridSlot(start_us + n * hop_us, begin + n * hop, hop, placed[n]) for n in sorted(placed)]


def render_segment(slot: GridSlot) -> Segment:
    """The sound of a slot: a function of the samples and the places of its stretches alone."""
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
    """The segments of [start_us, end_us) in which something was received, in order; see `slots`."""
    return [render_segment(slot) for slot in assign_to_grid(chunks, start_us, end_us, hop_us, rate)]
