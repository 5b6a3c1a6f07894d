"""What a fusion worker tells about itself, per batch."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from math import exp
from typing import Any

from model.serving import Serving
from services.fusion.batch import Released
from services.fusion.drift import Drift
from services.fusion.fetch import Fetcher
from services.fusion.infer import Inference
from services.fusion.overload import EARLY
from services.fusion.publish import Said
from services.fusion.reload import Reload
from services.fusion.trace import spans
from services.runtime.metrics import FusionMetrics, exemplar
from services.runtime.tracing import Tracer

OF_A_MODEL = ("encoded ", "again ", "asked ", "hits ", "evicted ")
_log = logging.getLogger(__name__)


class Observer:
    """Turns batches into metrics; the parts' own counters rise, so each batch adds what they rose by."""

    def __init__(self, metrics: FusionMetrics, tracer: Tracer) -> None:
        self._metrics, self._tracer = metrics, tracer
        self._before: dict[str, int] = {}
        self._drift = Drift()
        self._own = {final: metrics.latency.labels(f"own_{'final' if final else 'early'}") for final in (True, False)}

    @property
    def traced(self) -> float:
        """The share of windows that are traced."""
        return self._tracer.share

    def close(self) -> None:
        """Tell what is not told yet."""
        self._tracer.close()

    def model(self, model: Serving) -> None:
        """Say which model serves from now on, and where."""
        # Another model is sure in another way, and comes with counters of its own, from 0.
        self._drift = Drift()
        self._before = {name: count for name, count in self._before.items() if not name.startswith(OF_A_MODEL)}
        self._metrics.model.info(
            {"name": model.name, "version": model.version, "digest": model.digest, "device": str(model.device)}
        )
        _log.info("model", extra={"model_name": model.name, "digest": model.digest[:12], "device": str(model.device)})

    def reloads(self, reload: Reload) -> None:
        """Count newer checkpoints that came to serve, and those that could not."""
        for outcome, count in (("served", reload.served), ("refused", reload.refused)):
            self._metrics.reloads.labels(outcome).inc(self._rise(f"reload {outcome}", count))

    def lost(self, number: int, count: int) -> None:
        """Window records that were deleted before they were read."""
        if count:
            _log.error("windows were deleted before they were read", extra={"partition": number, "lost": count})

    def lag(self, topic: str, records: int, oldest_ms: int | None) -> None:
        """Windows not taken up yet, and when the oldest of what was fetched was sent (None: nothing was)."""
        self._metrics.lag.set({topic: records}, {} if oldest_ms is None else {topic: oldest_ms})

    def level(self, level: int) -> None:
        """The level of overload from now on."""
        self._metrics.level.set(level)

    def passed(self, released: Released) -> None:
        """Count what a batch passed over: early answers of no use, and those that overload left out."""
        early = sum(not q.window.final for q in released.passed)
        self._metrics.dropped.inc(early)
        if released.level >= EARLY:
            self._metrics.degraded.labels(str(EARLY)).inc(early)

    def batch(
        self,
        said: Sequence[Said],
        released: Released,
        missed: int,
        inference: Inference,
        fetcher: Fetcher,
        redis_errors: int,
        spent_ms: Mapping[str, float],
    ) -> None:
        """Count an acknowledged batch; missed: windows of it that were answered after they were due."""
        m = self._metrics
        contribution = {modality: m.contribution.labels(modality) for modality in inference.model.modalities}
        m.batch.observe(len(said))
        m.batches.labels(released.release).inc()
        m.missed.inc(missed)
        for stage, ms in spent_ms.items():
            m.stage.labels(stage).observe(ms / 1000)
        # One look for a series and one step of its counter cost more than all else that is done here: one for each batch.
        counts: Counter[tuple[Any, tuple[str, ...]]] = Counter()
        for one in said:
            p, final = one.predicted, one.predicted.window.final
            counts[m.predictions, (p.answer.label or "error", "final" if final else "early")] += 1
            parts = dict(one.latency_ms)
            of = exemplar(p.window.id, self._tracer.share)
            m.queue_wait.observe(parts["queue"] / 1000, of)
            own_ms = sum(parts.values()) - parts["align_wait"]
            self._own[final].observe(own_ms / 1000, of)
            if p.level:
                counts[m.degraded, (str(p.level),)] += 1
            for event in one.events:
                counts[m.events, (event.kind, event.lifecycle if final else "provisional")] += 1
            for modality, _, rejected in p.unusable:
                counts[m.unusable, (modality, rejected.reason.value)] += 1
            if final and p.senses:
                surest = p.rows.max(1).tolist()
                for n, modality in enumerate(p.senses):
                    share = p.contributions.get(modality, 0.0)
                    if share:  # exactly 0: not there
                        contribution[modality].observe(abs(share))
                        self._drift.take(modality, exp(surest[1 << n]))
            if final and p.answer.odd is not None:
                counts[m.conflicts, ()] += 1
        for (series, labels), count in counts.items():
            (series.labels(*labels) if labels else series).inc(count)
        for modality, score in self._drift.scores().items():
            m.drift.labels(modality).set(score)
        for source, count in fetcher.counts.items():
            m.fetched.labels(source).inc(self._rise(f"fetch {source}", count))
        for modality, count in inference.encoded.items():
            m.encoded.labels(modality).inc(self._rise(f"encoded {modality}", count))
            m.again.labels(modality).inc(self._rise(f"again {modality}", inference.again[modality]))
        for modality, asked in inference.asked.items():
            m.queries.labels(modality).inc(self._rise(f"asked {modality}", asked))
            m.hits.labels(modality).inc(self._rise(f"hits {modality}", asked - inference.encoded[modality]))
            m.evictions.labels(modality).inc(self._rise(f"evicted {modality}", inference.features.evicted[modality]))
        m.cache_bytes.set(inference.features.bytes)
        m.redis_errors.inc(self._rise("redis", redis_errors))
        self._tracer.tell(spans(said, released, self._tracer.share))

    def _rise(self, name: str, now: int) -> int:
        rise = now - self._before.get(name, 0)
        self._before[name] = now
        return rise
