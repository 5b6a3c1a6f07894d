"""The queue of a fusion worker in virtual time; the device is a latency model."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.contract.window import Window
from services.fusion.batching import FULL, NEVER_US, Batcher, BatchTimeModel
from services.fusion.fair_queue import QueuedWindow
from services.fusion.load_shedding import LoadShedder

SIZE, READ_MAX, END_OFFSET_EVERY_US, HOP_US = 8, 256, 100_000, 500_000
FIXED_US, EACH_US = 20_000, 2_500
BATCH_US = FIXED_US + SIZE * EACH_US
CAPACITY = SIZE / (BATCH_US / 1_000_000)
DEADLINE_US, STEP_US = 50_000, 250_000


@dataclass(frozen=True, slots=True)
class CompletedWindow:
    """A completed record of the windows topic: whether it was predicted, at which level, in which batch."""

    arrived_us: int
    over_us: int
    window: Window
    predicted: bool
    level: int
    release: str

    @property
    def waited_us(self) -> int:
        return self.over_us - self.arrived_us


def sessions(count: int, from_us: int, to_us: int, seed: int, *, early: bool) -> Iterator[tuple[int, Window]]:
    """Yield windows of `count` sessions, one per session every half second plus jitter; early: early windows too."""
    rng = random.Random(seed)
    for n in range(count):
        phase_us = rng.randrange(HOP_US)
        for start_us in range(from_us, to_us, HOP_US):
            at_us = start_us + phase_us + rng.randrange(60_000)
            for final, after_us in ((False, 0), (True, 700_000)) if early else ((True, 0),):
                name = f"{seed} {n}"
                yield at_us + after_us, Window(name, start_us, start_us + 1, None, final, "c", {}, 0, 0)


def run(
    arrivals: Sequence[tuple[int, Window]], level_max: int, share: Sequence[float] = (1, 1, 1, 1)
) -> list[CompletedWindow]:
    """Let the worker complete all windows; share: cost of a batch at each level relative to level 0."""
    arrivals = sorted(arrivals, key=lambda a: a[0])
    times = [at_us for at_us, _ in arrivals]
    batcher, overload = Batcher(SIZE, BatchTimeModel()), LoadShedder(level_max, STEP_US)
    last: dict[str, int] = {}
    completed: list[CompletedWindow] = []
    now_us, read, end_offset, end_offset_read_us = 0, 0, 0, -NEVER_US
    while len(completed) < len(arrivals):
        end = read
        while end < len(arrivals) and arrivals[end][0] <= now_us and end - read < READ_MAX:
            end += 1
        if end == read and batcher.next_deadline_us > now_us:
            # Nothing to do until a window arrives or reaches its deadline.
            upcoming_us = arrivals[read][0] if read < len(arrivals) else NEVER_US
            now_us = min(upcoming_us, batcher.next_deadline_us)
            continue
        new = [
            QueuedWindow(0, n, arrivals[n][0], arrivals[n][1], arrivals[n][0] + DEADLINE_US) for n in range(read, end)
        ]
        read = end
        batcher.add(new, now_us)
        steady = False
        while True:
            if now_us - end_offset_read_us >= END_OFFSET_EVERY_US:
                end_offset_read_us, end_offset = now_us, bisect_right(times, now_us)
            level = overload.update_level(max(end_offset - len(completed), 0))
            released = batcher.next_batch(now_us, level, last.get, coming=end_offset > read)
            if released is None:
                break
            began_us = now_us
            if released.windows:
                took_us = int((FIXED_US + EACH_US * len(released.windows)) * share[level])
                batcher.batch_time.observe(len(released.windows), took_us)
                now_us += took_us
            last |= {q.window.session: q.window.start_us for q in released.windows if q.window.final}
            batcher.complete(released)
            over = sorted((*released.windows, *released.skipped), key=lambda q: q.offset)
            completed += [
                CompletedWindow(q.appended_ms, now_us, q.window, q in released.windows, level, released.reason)
                for q in over
            ]
            if steady and released.reason == FULL:
                overload.observe(len(over), now_us - began_us)
            steady = True
    return completed
