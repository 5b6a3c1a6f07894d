"""How long the device takes for a batch: a line through what it took so far. Pure.

The batcher: which of the queued windows are answered next, together, and when. Pure; time comes in as an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from services.contract.window import Window
from services.fusion.load_shedding import SKIP_EARLY

# Of a batch's weight so much is left after each later one: a few dozen batches are remembered.
MEMORY = 0.97


class BatchTimeModel:
    """duration = each_us * windows + fixed_us, by least squares in which old batches count less; neither is below 0."""

    def __init__(self) -> None:
        self._weight = self._n = self._us = self._nn = self._n_us = 0.0

    def observe(self, windows: int, us: float) -> None:
        """A batch of so many windows took so long."""
        self._weight = MEMORY * self._weight + 1
        self._n = MEMORY * self._n + windows
        self._us = MEMORY * self._us + us
        self._nn = MEMORY * self._nn + windows * windows
        self._n_us = MEMORY * self._n_us + windows * us

    @property
    def per_window_us(self) -> float:
        """What one window more costs; 0 while all batches were of one size."""
        spread = self._weight * self._nn - self._n**2
        if spread <= 1e-6 * self._weight**2:
            return 0.0
        slope = (self._weight * self._n_us - self._n * self._us) / spread
        # A line through the origin is the steepest that leaves nothing below 0 for an empty batch.
        return min(max(slope, 0.0), self._us / self._n)

    @property
    def fixed_us(self) -> float:
        """What a batch costs however small it is; 0 before the first one."""
        return (self._us - self.per_window_us * self._n) / self._weight if self._weight else 0.0

    def predict_us(self, windows: int) -> float:
        """What a batch of so many windows will take."""
        return self.fixed_us + self.per_window_us * windows


FULL, IDLE, DELAY, DEADLINE, DRAIN = "full", "idle", "delay", "deadline", "drain"
NEVER_US = 1 << 62
# A record that is known to be at the broker comes within this.
COMING_US = 10_000
# How much the newest arrivals say about the time between windows, and from which silence on they say nothing.
WEIGHT, SILENCE_US = 0.2, 1_000_000


@dataclass(frozen=True, slots=True)
class QueuedWindow:
    """A window as its record was read: partition number, offset, broker time; due_us: when its answer should be out."""

    partition: int
    offset: int
    appended_ms: int
    window: Window
    due_us: int


@dataclass(frozen=True, slots=True)
class ReleasedBatch:
    """A batch on its way: what to answer, what was passed over (copies, early answers of no use), why it goes, the level."""

    windows: Sequence[QueuedWindow]
    skipped: Sequence[QueuedWindow]
    reason: str
    level: int


class Batcher:
    """Windows in order of arrival; final ones are all answered, once, early ones while they help.

    A batch goes when the device is free: whoever calls `take` says so. It takes all that is queued, up to `size`
    windows; fewer wait for the next one only where that makes the sum of all waiting shorter (see `_pays`) and no
    window late by the latency model. size: windows of a full batch.
    """

    def __init__(self, size: int, latency: BatchTimeModel) -> None:
        self.size, self.batch_time = size, latency
        self._queue: deque[QueuedWindow] = deque()
        self._newest: dict[str, int] = {}
        self._answering: dict[str, int] = {}
        self._gap_us = inf
        self._arrived_us = -NEVER_US
        self._until_us = NEVER_US
        self._waits: str | None = None

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def queued(self) -> Sequence[QueuedWindow]:
        """What was not taken yet, in order."""
        return tuple(self._queue)

    @property
    def next_deadline_us(self) -> int:
        """When to ask again though nothing more comes."""
        return self._until_us if self._queue else NEVER_US

    def add(self, queued: Sequence[QueuedWindow], now_us: int) -> None:
        """Windows that have come, in order."""
        if not queued:
            return
        self._queue.extend(queued)
        for window in (q.window for q in queued):
            if window.final:
                self._newest[window.session] = max(window.start_us, self._newest.get(window.session, window.start_us))
        since_us = now_us - self._arrived_us
        gap_us = since_us / len(queued) if since_us <= SILENCE_US else inf
        known = self._gap_us < inf and gap_us < inf
        self._gap_us = self._gap_us + (gap_us - self._gap_us) * WEIGHT if known else gap_us
        self._arrived_us, self._until_us, self._waits = now_us, now_us, None

    def next_batch(
        self,
        now_us: int,
        level: int,
        last_final_us: Callable[[str], int | None],
        *,
        coming: bool = False,
        drain: bool = False,
    ) -> ReleasedBatch | None:
        """The next batch, for the device is free; None where there is nothing, or waiting pays (until `next_us`).

        last_final_us: the start of a session's last answered final window. coming: more is at the broker, so that a
        full batch costs no wait. drain: nothing waits any more.
        """
        picked: list[QueuedWindow] = []
        passed: list[QueuedWindow] = []
        answering: dict[str, int] = {}
        for q in self._queue:
            if self._worth(q.window, level, answering, last_final_us):
                picked.append(q)
                if q.window.final:
                    answering[q.window.session] = q.window.start_us
            else:
                passed.append(q)
            if len(picked) == self.size:
                break
        release = self._release(picked, now_us, coming, drain) if picked or not passed else IDLE
        if release is None:
            return None
        for _ in range(len(picked) + len(passed)):
            window = self._queue.popleft().window
            if window.final and self._newest.get(window.session) == window.start_us:
                del self._newest[window.session]
        self._answering |= answering
        self._until_us, self._waits = now_us, None
        return ReleasedBatch(picked, passed, release, level)

    def complete(self, released: ReleasedBatch) -> None:
        """A batch that was taken is answered: from now on `last_final_us` knows of it."""
        for window in (q.window for q in released.windows):
            if window.final and self._answering.get(window.session) == window.start_us:
                del self._answering[window.session]

    def _worth(
        self, window: Window, level: int, answering: dict[str, int], last_final_us: Callable[[str], int | None]
    ) -> bool:
        """Final ones that were not answered yet, and early ones that still help.

        A final one may come again (a former aligner that lives on writes copies): a copy is not answered, it would
        break the chain of its session. An early answer is of no use where a final one of its session at or after it is
        there already, before it or behind it; under overload early answers are what goes first.
        """
        session, start_us = window.session, window.start_us
        known_us = (answering.get(session), self._answering.get(session), last_final_us(session))
        if any(us is not None and start_us <= us for us in known_us):
            return False
        return window.final or (level < SKIP_EARLY and start_us > self._newest.get(session, start_us - 1))

    def _release(self, picked: Sequence[QueuedWindow], now_us: int, coming: bool, drain: bool) -> str | None:
        if len(picked) == self.size:
            return FULL
        if not picked:
            return None
        if drain:
            return DRAIN
        if self._until_us > now_us:
            return None
        if self._waits is not None:
            # Another one was waited for, and did not come.
            return self._waits
        if coming:
            self._waits, self._until_us = DELAY, now_us + COMING_US
            return None
        if not self._pays(len(picked)):
            return IDLE
        latest_us = min(q.due_us for q in picked) - self.batch_time.predict_us(len(picked) + 1)
        if latest_us <= now_us:
            return DEADLINE
        self._waits = DEADLINE if latest_us <= now_us + self._gap_us else DELAY
        self._until_us = int(min(latest_us, now_us + self._gap_us)) + 1
        return None

    def _pays(self, count: int) -> bool:
        """Whether the next window gains more by coming along than those that are there lose by waiting for it.

        It comes after `gap`. Alone it would wait for this batch and then pay a batch's fixed cost of its own: coming
        along saves it fixed - gap. Each of those that are there waits for it, and for its share of the longer batch.
        """
        gap_us, each_us = self._gap_us, self.batch_time.per_window_us
        return self.batch_time.fixed_us - gap_us > count * (gap_us + each_us)
