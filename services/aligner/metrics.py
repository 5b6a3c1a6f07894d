"""What an aligner tells about itself: counts per batch, and the clock offset of each source."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping

from services.aligner.partition import Effects, Partition
from services.aligner.session import NEVER_US
from services.contract.source_stats import ClockOffset
from services.runtime.metric_definitions import AlignerMetrics, exemplar
from services.runtime.monotonic_clock import monotonic_us

SOURCES_MAX = 1_000
BOUNDS_EVERY_US = 1_000_000

_log = logging.getLogger(__name__)


class AlignerObserver:
    """Turns effects into metrics; nothing here decides anything. traced: the share of windows that have a trace."""

    def __init__(self, metrics: AlignerMetrics, traced: float) -> None:
        self._metrics, self._traced = metrics, traced
        self._redis_errors = 0
        self._bounds_us, self._modalities = 0, set[str]()
        self._clocks: OrderedDict[tuple[str, str], ClockOffset] = OrderedDict()

    def lost(self, number: int, lost: Mapping[str, int]) -> None:
        """Records that retention deleted before they were read: said with counts, never passed over in silence."""
        for modality, count in lost.items():
            if count:
                self._metrics.records_lost.labels(modality).inc(count)
                _log.error("records were deleted before they were read", extra={"partition": number, "lost": count})

    def effects(self, effects: Effects) -> None:
        """Count what one partition number's batch led to."""
        m = self._metrics
        for (modality, fate), count in effects.fates.items():
            m.fates.labels(modality, fate).inc(count)
            m.consumed.labels(modality).inc(count)
        for _, letter in effects.dead:
            m.rejected.labels(letter.position.topic.split(".")[-2], letter.rejected.reason.value).inc()
        for chunk, late in effects.late:
            m.lateness.labels(chunk.modality).observe(late.behind_us / 1e6)
        for (modality, source, period), offset_us in effects.clock_offsets_us.items():
            self._observe_clock((modality, source), offset_us, period)
        finals = [window for window in effects.windows if window.final]
        for outcome, count in (("final", len(finals)), ("early", len(effects.windows) - len(finals))):
            if count:
                m.windows.labels(outcome).inc(count)
        for window in finals:
            m.alignment_wait.observe(
                max(window.closed_us - window.opened_us, 0) / 1e6, exemplar(window.id, self._traced)
            )
        masks = Counter((name, lane.state) for window in finals for name, lane in window.modalities.items())
        for mask, count in masks.items():
            m.window_modality.labels(*mask).inc(count)

    def _observe_clock(self, source: tuple[str, str], offset_us: int, period: int) -> None:
        clock = self._clocks.setdefault(source, ClockOffset())
        clock.observe(offset_us, period)
        self._clocks.move_to_end(source)
        while len(self._clocks) > SOURCES_MAX:
            self._metrics.clock_offset.remove(*self._clocks.popitem(last=False)[0])
        self._metrics.clock_offset.labels(*source).set(clock.us / 1e6)

    def lag(self, records: Mapping[str, int], oldest_ms: Mapping[str, int]) -> None:
        """What of each topic is fetched or on the broker and not handed over yet, and how old what is handed over is."""
        self._metrics.lag.set(records, oldest_ms)

    def batch(self, took_us: int, partitions: Iterable[Partition], redis_errors: int) -> None:
        """What holds after a batch."""
        m, owned = self._metrics, list(partitions)
        m.stage_duration.labels("align").observe(took_us / 1e6)
        m.partitions.set(len(owned))
        m.sessions_open.set(sum(len(p.aligner.sessions) for p in owned))
        m.windows_open.set(sum(p.aligner.windows_open for p in owned))
        m.redis_errors.inc(redis_errors - self._redis_errors)
        self._redis_errors = redis_errors
        now_us = monotonic_us()
        if now_us - self._bounds_us >= BOUNDS_EVERY_US:
            self._bounds_us = now_us
            self._bounds(owned)

    def _bounds(self, owned: Iterable[Partition]) -> None:
        """Not each batch: it looks at every open session."""
        worst: dict[str, int] = {}
        for session in (s for p in owned for s in p.aligner.sessions.values() if s.starts):
            bounds = {
                name: lane.watermark_us for name, lane in session.streams.items() if lane.watermark_us != NEVER_US
            }
            for name, bound_us in bounds.items():
                worst[name] = max(worst.get(name, 0), max(bounds.values()) - bound_us)
        for modality in self._modalities | worst.keys():
            self._metrics.watermark_lag.labels(modality).set(worst.get(modality, 0) / 1e6)
        self._modalities |= worst.keys()
