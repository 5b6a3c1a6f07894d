"""Sound re-cut on the absolute hop grid, so that any chunking of the same sound gives the same segments. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

JOIN_US = 20_000


class Stretch(NamedTuple):
    """Samples float32 [n] of one chunk, its time and where it is from."""

    t_us: int
    source: str
    id: str
    samples: NDArray[np.float32]


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


def cut(stretches: Sequence[Stretch], start_us: int, end_us: int, hop_us: int, rate: int) -> list[Segment]:
    """The segments of [start_us, end_us) in which something was received, in order.

    A chunk within 20 ms of its source's previous end is placed there, else at round(t * rate); where chunks overlap
    the first in order of (t, source, id) stays. start_us and end_us lie on the hop grid.
    """
    begin, length = start_us * rate // 1_000_000, (end_us - start_us) * rate // 1_000_000
    canvas = np.zeros(length, np.float32)
    taken = np.zeros(length, np.bool_)
    ends: dict[str, int] = {}
    for stretch in sorted(stretches, key=lambda s: s[:3]):
        at = round(stretch.t_us * rate / 1_000_000)
        if stretch.source in ends and abs(at - ends[stretch.source]) * 1_000_000 <= JOIN_US * rate:
            at = ends[stretch.source]
        ends[stretch.source] = at + len(stretch.samples)
        low, high = max(at, begin), min(at + len(stretch.samples), begin + length)
        if low < high:
            there = slice(low - begin, high - begin)
            free = ~taken[there]
            canvas[there][free] = stretch.samples[low - at : high - at][free]
            taken[there] = True
    hop = hop_us * rate // 1_000_000
    out = []
    for number in range(length // hop):
        part = slice(number * hop, (number + 1) * hop)
        received = int(taken[part].sum())
        if received:
            samples = canvas[part]
            key = hashlib.sha256(samples.tobytes()).hexdigest()
            out.append(Segment(start_us + number * hop_us, samples, received, key))
    return out
