"""Sound re-cut on the absolute hop grid, so that any chunking of the same sound gives the same segments. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

JOIN_US = 20_000
ORDER = itemgetter(0, 1, 2)


class Stretch(NamedTuple):
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


class Slot(NamedTuple):
    """One hop of the grid in which something was received: its place, and the stretches that reach into it.

    begin, length: in samples; placed: where each stretch begins, against `begin`, in the order in which they count.
    """

    start_us: int
    begin: int
    length: int
    placed: Sequence[tuple[int, Stretch]]


def slots(stretches: Sequence[Stretch], start_us: int, end_us: int, hop_us: int, rate: int) -> list[Slot]:
    """The slots of [start_us, end_us) in which something was received, in order.

    A chunk within 20 ms of its source's previous end is placed there, else at round(t * rate); where chunks overlap
    the first in order of (t, source, id) stays. start_us and end_us lie on the hop grid.
    """
    begin, length = start_us * rate // 1_000_000, (end_us - start_us) * rate // 1_000_000
    hop = hop_us * rate // 1_000_000
    placed: dict[int, list[tuple[int, Stretch]]] = {}
    ends: dict[str, int] = {}
    whole, joined = length // hop * hop, JOIN_US * rate // 1_000_000
    for stretch in sorted(stretches, key=ORDER):
        t_us, source, _, samples, _ = stretch
        at = round(t_us * rate / 1_000_000)
        end = ends.get(source)
        if end is not None and -joined <= at - end <= joined:
            at = end
        ends[source] = end = at + len(samples)
        low, high = at - begin, end - begin
        if low < high and low < whole and high > 0:
            first, last = max(low, 0) // hop, (min(high, whole) - 1) // hop
            for number in range(first, last + 1):
                placed.setdefault(number, []).append((low - number * hop, stretch))
    return [Slot(start_us + n * hop_us, begin + n * hop, hop, placed[n]) for n in sorted(placed)]


def segment(slot: Slot) -> Segment:
    """The sound of a slot: a function of the samples and the places of its stretches alone."""
    samples = np.zeros(slot.length, np.float32)
    taken = np.zeros(slot.length, np.bool_)
    reached = 0
    for at, stretch in slot.placed:
        low, high = max(at, 0), min(at + len(stretch.samples), slot.length)
        if low >= reached:
            samples[low:high] = stretch.samples[low - at : high - at]
        else:
            free = ~taken[low:high]
            samples[low:high][free] = stretch.samples[low - at : high - at][free]
        taken[low:high] = True
        reached = max(reached, high)
    key = hashlib.sha256(samples.tobytes()).hexdigest()
    return Segment(slot.start_us, samples, int(taken.sum()), key)


def cut(stretches: Sequence[Stretch], start_us: int, end_us: int, hop_us: int, rate: int) -> list[Segment]:
    """The segments of [start_us, end_us) in which something was received, in order; see `slots`."""
    return [segment(slot) for slot in slots(stretches, start_us, end_us, hop_us, rate)]
