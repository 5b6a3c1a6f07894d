"""Batching: which of the queued windows are predicted next, together, and when. Pure; time comes in as an argument."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf

from services.contract.window import Window
from services.fusion.fair_queue import FairQueue, QueuedWindow
from services.fusion.load_shedding import SKIP_EARLY

# The weight of a batch in the time model decays by this with each later batch: a few dozen batches count.
MEMORY = 0.97
FULL, IDLE, DELAY, DEADLINE, DRAIN = "full", "idle", "delay", "deadline", "drain"
NEVER_US = 1 << 62
# A record that is known to be at the broker comes within this time.
COMING_US = 10_000
# The weight of the newest arrivals in the mean gap between windows, and the silence after which the gap is unknown.
WEIGHT, SILENCE_US = 0.2, 1_000_000


class BatchTimeModel:
    """How long a batch takes: per_window_us * windows + fixed_us, by least squares in which old batches count less.

    Neither term is below 0.
    """

    def __init__(self) -> None:
        self._weight = self._n = self._us = self._nn = self._n_us = 0.0

    def observe(self, windows: int, us: float) -> None:
        """Learn how long (us) a batch took."""
        self._weight = MEMORY * self._weight + 1
        self._n = MEMORY * self._n + windows
        self._us = MEMORY * self._us + us
        self._nn = MEMORY * self._nn + windows * windows
        self._n_us = MEMORY * self._n_us + windows * us

    @property
    def per_window_us(self) -> float:
        """The cost of one more window; 0 while all batches were of one size."""
        spread = self._weight * self._nn - self._n**2
        if spread <= 1e-6 * self._weight**2:
            return 0.0
        slope = (self._weight * self._n_us - self._n * self._us) / spread
        # A line through the origin is the steepest one that predicts no negative time for an empty batch.
        return min(max(slope, 0.0), self._us / self._n)

    @property
    def fixed_us(self) -> float:
        """The cost of a batch of any size; 0 before the first one."""
        return (self._us - self.per_window_us * self._n) / self._weight if self._weight else 0.0

    def predict_us(self, windows: int) -> float:
        """Predict how long (us) a batch of this many windows takes."""
        return self.fixed_us + self.per_window_us * windows


@dataclass(frozen=True, slots=True)
class ReleasedBatch:
    """A batch to predict.

    skipped: copies, and early windows whose predictions are of no use; reason: why the batch goes now; level: of overload.
    """

    windows: Sequence[QueuedWindow]
    skipped: Sequence[QueuedWindow]
    reason: str
    level: int


class Batcher:
    """A fair queue of windows; final ones are all predicted, once and in order, early ones while they help.

    A batch goes when the device is free, which is when `next_batch` is called. It takes all that is queued, up to `size`
    windows, in the order of `FairQueue`. A smaller batch waits for the next window only if that shortens the sum of all
    waits (see `_pays`) and the time model says that no window becomes late.
    """

    def __init__(self, size: int, batch_time: BatchTimeModel) -> None:
        self.size, self.batch_time = size, batch_time
        self._queue = FairQueue()
        # By partition, the offsets of windows that are not published yet, in order.
        self._unfinished: dict[int, OrderedDict[int, None]] = {}
        self._newest: dict[str, int] = {}
        self._in_flight: dict[str, list[int]] = {}
        self._gap_us = inf
        self._arrived_us = -NEVER_US
        self._until_us = NEVER_US
        self._waits: str | None = None

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def old_count(self) -> int:
        """How many of the queued windows are of sessions that are not new."""
        return self._queue.old_count

    @property
    def is_ready(self) -> bool:
        """True if a window is queued that is not being prepared."""
        return self._queue.is_ready

    @property
    def next_deadline_us(self) -> int:
        """When to call `next_batch` again though no window arrives."""
        return self._until_us if self.is_ready else NEVER_US

    def first_unfinished(self, partition: int) -> int | None:
        """Return the smallest offset of a window that is queued, being prepared or in flight; None if there is none."""
        return next(iter(self._unfinished.get(partition, ())), None)

    def last_added_us(self, generation_id: str) -> int | None:
        """Return the start of the newest final window of a generation that is queued or in flight."""
        newest = self._newest.get(generation_id)
        return newest if newest is not None else max(self._in_flight.get(generation_id, ()), default=None)

    def add(self, queued: Sequence[QueuedWindow], now_us: int) -> None:
        """Add windows in their order."""
        if not queued:
            return
        for q in queued:
            self._queue.add(q)
            self._unfinished.setdefault(q.partition, OrderedDict())[q.offset] = None
            window = q.window
            if window.final:
                self._newest[window.generation_id] = max(
                    window.start_us, self._newest.get(window.generation_id, window.start_us)
                )
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
        level_of_new: int | None = None,
        coming: bool = False,
        drain: bool = False,
    ) -> ReleasedBatch | None:
        """Take the next batch for a free device; None if there is none, or if waiting pays (until `next_deadline_us`).

        Args:
            now_us: The monotonic clock.
            level: The level of overload by the windows of sessions that are not new.
            last_final_us: Returns the start of the last predicted final window of a generation id.
            level_of_new: The level of overload by all windows, for new sessions; None for the same.
            coming: True if more is at the broker, so that a full batch costs no wait.
            drain: True if nothing may wait any more.
        """
        taken: dict[str, list[int]] = {}
        levels = (level if level_of_new is None else level_of_new), level

        def is_useful(q: QueuedWindow, old: bool) -> bool:
            useful = self._is_useful(q.window, levels[old], taken, last_final_us)
            if useful and q.window.final:
                taken.setdefault(q.window.generation_id, []).append(q.window.start_us)
            return useful

        picked, skipped = self._queue.select(self.size, is_useful)
        reason = self._reason(picked, now_us, coming, drain) if picked or not skipped else IDLE
        if reason is None:
            self._queue.undo(picked, skipped)
            return None
        for window in (q.window for q in (*picked, *skipped)):
            if window.final and self._newest.get(window.generation_id) == window.start_us:
                del self._newest[window.generation_id]
        for session, starts in taken.items():
            self._in_flight.setdefault(session, []).extend(starts)
        self._until_us, self._waits = now_us, None
        return ReleasedBatch(picked, skipped, reason, level)

    def put_off(self, queued: Sequence[QueuedWindow]) -> None:
        """Note that windows of one session in a released batch are being prepared; `resume` puts them back."""
        self._queue.block(queued[0])
        self._end_flight(queued)
        for window in (q.window for q in queued if q.window.final):
            id, start_us = window.generation_id, window.start_us
            self._newest[id] = max(start_us, self._newest.get(id, start_us))

    def resume(self, queued: Sequence[QueuedWindow], took_us: float) -> None:
        """Put windows back that are prepared now, and charge the time that it took to their session."""
        self._queue.requeue(queued)
        self._queue.charge(queued[0].window.session, took_us)
        self._until_us = min(self._until_us, self._arrived_us)

    def charge(self, session: str, us: float) -> None:
        """Charge the time of decoding a window to its session."""
        self._queue.charge(session, us)

    def complete(self, released: ReleasedBatch) -> None:
        """Mark a batch as published: from now on `last_final_us` knows of its windows."""
        self._end_flight(released.windows)
        for q in (*released.windows, *released.skipped):
            self._unfinished[q.partition].pop(q.offset, None)

    def _end_flight(self, queued: Sequence[QueuedWindow]) -> None:
        for window in (q.window for q in queued):
            starts = self._in_flight.get(window.generation_id, [])
            if window.final and window.start_us in starts:
                starts.remove(window.start_us)
                if not starts:
                    del self._in_flight[window.generation_id]

    def _is_useful(
        self, window: Window, level: int, taken: dict[str, list[int]], last_final_us: Callable[[str], int | None]
    ) -> bool:
        """True for final windows that are not predicted yet, and for early ones that still help.

        A final window may come again (an aligner that lost its partition may still write copies). A copy is not
        predicted: it would break the chain of its session. An early prediction is of no use if a final window of its
        session at or after it is there already; under overload early predictions are left out first.
        """
        session, start_us = window.generation_id, window.start_us
        predicted_us = last_final_us(session)
        if predicted_us is not None and start_us <= predicted_us:
            return False
        for starts in (taken.get(session), self._in_flight.get(session)):
            if starts and start_us <= starts[-1]:
                return False
        return window.final or (level < SKIP_EARLY and start_us > self._newest.get(session, start_us - 1))

    def _reason(self, picked: Sequence[QueuedWindow], now_us: int, coming: bool, drain: bool) -> str | None:
        if len(picked) == self.size:
            return FULL
        if not picked:
            return None
        if drain:
            return DRAIN
        if self._until_us > now_us:
            return None
        if self._waits is not None:
            # The window that the batch waited for did not come.
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
        """True if the next window gains more by joining this batch than those in the queue lose by waiting for it.

        It arrives after `gap`. Alone it would wait for this batch and then pay the fixed cost of another one: joining
        saves it fixed - gap. Each window in the queue waits for it, and for its share of the longer batch.
        """
        gap_us, per_window_us = self._gap_us, self.batch_time.per_window_us
        return self.batch_time.fixed_us - gap_us > count * (gap_us + per_window_us)
