"""Exports the metrics of an aligner: counts per batch, and the clock offset of each source."""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping

from services.aligner.partition import Effects, Partition
from services.aligner.session import NEVER_US
from services.contract.source_stats import ClockOffset
from services.runtime.metric_definitions import AlignerMetrics, exemplar
from services.runtime.monotonic_clock import monotonic_us

# A new source takes the place of one that has been silent for at least half a minute.
SOURCES_MAX = 1_000
WATERMARKS_EVERY_US = 1_000_000

_log = logging.getLogger(__name__)


class AlignerObserver:
    """Turns effects into metrics.

    Args:
        metrics: The metrics to set.
        traced: The share of windows that have a trace.
    """

    def __init__(self, metrics: AlignerMetrics, traced: float) -> None:
        self._metrics, self._traced = metrics, traced
        self._redis_errors = 0
        self._watermarks_at_us, self._modalities = 0, set[str]()
        self._clocks: OrderedDict[tuple[str, str], ClockOffset] = OrderedDict()

    def on_lost(self, number: int, lost: Mapping[str, int]) -> None:
        """Count and log records that were deleted before they were read: by retention, or by hand."""
        for modality, count in lost.items():
            if count:
                self._metrics.records_lost.labels(modality).inc(count)
                _log.error(
                    "records were deleted before they were read",
                    extra={"modality": modality, "partition": number, "lost": count},
                )

    def on_effects(self, effects: Effects) -> None:
        """Count the effects of one partition number's batch."""
        m = self._metrics
        for (modality, fate), count in effects.fates.items():
            m.fates.labels(modality, fate).inc(count)
            m.consumed.labels(modality).inc(count)
        for _, dead_letter in effects.dead:
            m.rejected.labels(dead_letter.position.topic.split(".")[-2], dead_letter.rejected.reason.value).inc()
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
        states = Counter((m, members.state) for window in finals for m, members in window.modalities.items())
        for state, count in states.items():
            m.window_modality.labels(*state).inc(count)

    def _observe_clock(self, source: tuple[str, str], offset_us: int, period: int) -> None:
        clock = self._clocks.get(source)
        if clock is None:
            if len(self._clocks) >= SOURCES_MAX:
                longest_silent, other = next(iter(self._clocks.items()))
                if other.period >= period - 1:
                    # Sources that send keep their place: a flood of new ones must not hide them.
                    return
                self._metrics.clock_offset.remove(*longest_silent)
                del self._clocks[longest_silent]
            clock = self._clocks[source] = ClockOffset()
        clock.observe(offset_us, period)
        self._clocks.move_to_end(source)
        self._metrics.clock_offset.labels(*source).set(clock.us / 1e6)

    def on_lag(self, records: Mapping[str, int], oldest_ms: Mapping[str, int]) -> None:
        """Set by topic how many records are not processed yet, and the append time of the oldest in this batch."""
        self._metrics.lag.set(records, oldest_ms)

    def on_batch(self, took_us: int, partitions: Iterable[Partition], redis_errors: int) -> None:
        """Set what holds after a batch."""
        m, owned = self._metrics, list(partitions)
        m.stage_duration.labels("align").observe(took_us / 1e6)
        m.partitions.set(len(owned))
        m.sessions_open.set(sum(len(p.aligner.sessions) for p in owned))
        m.windows_open.set(sum(p.aligner.windows_open for p in owned))
        m.redis_errors.inc(redis_errors - self._redis_errors)
        self._redis_errors = redis_errors
        now_us = monotonic_us()
        if now_us - self._watermarks_at_us >= WATERMARKS_EVERY_US:
            self._watermarks_at_us = now_us
            self._export_watermark_lag(owned)

    def _export_watermark_lag(self, owned: Iterable[Partition]) -> None:
        # Not for each batch, because it visits every open session.
        worst: dict[str, int] = {}
        for session in (s for p in owned for s in p.aligner.sessions.values() if s.starts):
            watermarks = {name: s.watermark_us for name, s in session.streams.items() if s.watermark_us != NEVER_US}
            for name, watermark_us in watermarks.items():
                worst[name] = max(worst.get(name, 0), max(watermarks.values()) - watermark_us)
        for modality in self._modalities | worst.keys():
            self._metrics.watermark_lag.labels(modality).set(worst.get(modality, 0) / 1e6)
        self._modalities |= worst.keys()
