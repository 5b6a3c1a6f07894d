"""What an aligner tells about itself: counts per batch, and the clock offset of each source."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from services.aligner.partition import Effects, Partition
from services.runtime.metrics import AlignerMetrics

_log = logging.getLogger(__name__)


class Observer:
    """Turns effects into metrics; nothing here decides anything."""

    def __init__(self, metrics: AlignerMetrics) -> None:
        self._metrics = metrics
        self._redis_errors = 0

    def lost(self, number: int, lost: Mapping[str, int]) -> None:
        """Records that retention deleted before they were read: said with counts, never passed over in silence."""
        for modality, count in lost.items():
            if count:
                self._metrics.lost.labels(modality).inc(count)
                _log.error("records were deleted before they were read", extra={"partition": number, "lost": count})

    def effects(self, effects: Effects) -> None:
        """Count what one partition number's batch led to."""
        m = self._metrics
        for (modality, fate), count in effects.fates.items():
            m.fates.labels(modality, fate).inc(count)
            m.consumed.labels(modality).inc(count)
        for _, letter in effects.dead:
            m.rejected.labels(letter.at.topic.split(".")[-2], letter.rejected.reason.value).inc()
        for chunk, late in effects.late:
            m.lateness.labels(chunk.modality).observe(late.behind_us / 1e6)
        for window in effects.windows:
            m.windows.labels("final" if window.final else "early").inc()
            if window.final:
                m.wait.observe(max(window.closed_us - window.opened_us, 0) / 1e6)
                for modality, lane in window.modalities.items():
                    m.window_modality.labels(modality, lane.state).inc()

    def batch(self, took_us: int, partitions: Iterable[Partition], redis_errors: int) -> None:
        """What holds after a batch."""
        m, owned = self._metrics, list(partitions)
        m.batch.labels("align").observe(took_us / 1e6)
        m.partitions.set(len(owned))
        m.sessions_open.set(sum(len(p.aligner.sessions) for p in owned))
        m.windows_open.set(sum(len(s.starts) for p in owned for s in p.aligner.sessions.values()))
        m.redis_errors.inc(redis_errors - self._redis_errors)
        self._redis_errors = redis_errors
