"""Metrics and traces of a fusion worker, batch by batch, and the drift of single-modality confidence."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import exp, log2
from typing import Any

from model.predictor import ServedModel
from services.contract import trace_context
from services.fusion.batching import ReleasedBatch
from services.fusion.fetch import PayloadFetcher
from services.fusion.hot_reload import CheckpointReloader
from services.fusion.inference import Inference
from services.fusion.load_shedding import SKIP_EARLY
from services.fusion.publish import PublishedPrediction
from services.runtime.metric_definitions import FusionMetrics, exemplar
from services.runtime.tracing import Attributes, Span, Tracer

BINS = 10
# In windows: ten minutes and four hours of one session that sends without a break, at two windows a second.
RECENT, PAST = 1_200, 28_800
# Fewer windows than this have no past to compare with.
MIN_WINDOWS = 2 * RECENT
FACTOR_MIN = 1e-6


class DecayingHistogram:
    """The shares of bins, in which old values decay; until `memory` values were added, all of them count the same."""

    def __init__(self, memory: int) -> None:
        self._memory, self._count = memory, 0
        # The shares divided by a factor that shrinks with each value, so that adding one changes one bin.
        self._weights, self._factor = [0.0] * BINS, 1.0

    def add(self, bin: int) -> None:
        """Add a value."""
        self._count += 1
        weight = 1 / min(self._count, self._memory)
        if weight == 1 or self._factor < FACTOR_MIN:
            self._weights, self._factor = [0.0 if weight == 1 else share for share in self.shares()], 1.0
        self._factor *= 1.0 if weight == 1 else 1 - weight
        self._weights[bin] += weight / self._factor

    def shares(self) -> list[float]:
        """Return the share of each bin; they sum to 1."""
        return [weight * self._factor for weight in self._weights]


class ConfidenceDrift:
    """Drift of single-modality confidence: two histograms a modality, in which old windows decay at different rates."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}
        self._histograms: dict[str, tuple[DecayingHistogram, DecayingHistogram]] = {}

    def observe(self, modality: str, confidence: float) -> None:
        """Count a window in which the modality was present; confidence in [0, 1]: of the model with this modality alone."""
        self._seen[modality] = self._seen.get(modality, 0) + 1
        if modality not in self._histograms:
            self._histograms[modality] = DecayingHistogram(RECENT), DecayingHistogram(PAST)
        for histogram in self._histograms[modality]:
            histogram.add(min(int(confidence * BINS), BINS - 1))

    def scores(self) -> dict[str, float]:
        """Return the Jensen-Shannon divergence of recent against past by modality, in bits: 0 none, 1 total."""
        return {
            modality: _divergence(*(one.shares() for one in self._histograms[modality])) if seen >= MIN_WINDOWS else 0.0
            for modality, seen in self._seen.items()
        }


def _divergence(p: list[float], q: list[float]) -> float:
    found = 0.0
    for a, b in zip(p, q, strict=True):
        middle = (a + b) / 2
        found += sum(x * log2(x / middle) for x in (a, b) if x > 0) / 2
    return min(max(found, 0.0), 1.0)


# The parts of the latency that all windows of a batch share.
SHARED = ("fetch", "decode", "encode", "fuse", "publish")


def window_spans(published: Sequence[PublishedPrediction], released: ReleasedBatch, share: float) -> list[Span]:
    """Return a trace for each traced window, from its first record to its prediction, and one for the batch."""
    traced = [one for one in published if trace_context.is_traced(one.prediction.window.id, share)]
    return [span for one in traced for span in _window(one)] + ([_batch(traced, released)] if traced else [])


def _window(one: PublishedPrediction) -> Iterator[Span]:
    predicted, window = one.prediction, one.prediction.window
    of, root = trace_context.trace_id(window.id), trace_context.span_id(window.id)
    at_us = window.opened_us
    for key, ms in one.latency_ms:
        ends_us = at_us + round(ms * 1000)
        yield Span(key, of, trace_context.span_id(window.id, key), root, at_us, ends_us)
        at_us = ends_us
    attributes: Attributes = {
        "braid.window": window.id,
        "braid.prediction": predicted.id,
        "braid.session": window.session,
        "braid.final": window.final,
        "braid.label": predicted.result.label or "error",
        "braid.level": predicted.level,
        "messaging.kafka.partition": one.partition,
    }
    yield Span("window", of, root, None, window.opened_us, at_us, attributes)


def _batch(traced: Sequence[PublishedPrediction], released: ReleasedBatch) -> Span:
    first = traced[0].prediction.window.id
    parts = dict(traced[0].latency_ms)
    ends_us = traced[0].prediction.window.opened_us + round(sum(parts.values()) * 1000)
    begins_us = ends_us - round(sum(parts[key] for key in SHARED) * 1000)
    attributes: Attributes = {
        "braid.windows": len(released.windows),
        "braid.release": released.reason,
        "braid.level": released.level,
    }
    links = [
        (trace_context.trace_id(one.prediction.window.id), trace_context.span_id(one.prediction.window.id))
        for one in traced
    ]
    return Span(
        "batch",
        trace_context.trace_id(f"batch {first}"),
        trace_context.span_id(first, "batch"),
        None,
        begins_us,
        ends_us,
        attributes,
        links,
    )


OF_A_MODEL = ("encoded ", "again ", "asked ", "hits ", "evicted ")
_log = logging.getLogger(__name__)


class FusionObserver:
    """Turns batches into metrics and traces. Other parts count for themselves: each batch adds what their counts rose by."""

    def __init__(self, metrics: FusionMetrics, tracer: Tracer) -> None:
        self._metrics, self._tracer = metrics, tracer
        self._before: dict[str, int] = {}
        # Looking up a series costs more than incrementing it.
        self._series: dict[tuple[Any, tuple[str, ...]], Any] = {}
        self._drift = ConfidenceDrift()
        self._own = {
            final: metrics.window_latency.labels(f"own_{'final' if final else 'early'}") for final in (True, False)
        }

    @property
    def traced(self) -> float:
        """The share of windows that are traced."""
        return self._tracer.share

    def close(self) -> None:
        """Export the remaining spans."""
        self._tracer.close()

    def model(self, model: ServedModel) -> None:
        """Report which model serves from now on, and on which device."""
        # Another model has another confidence, and its counts begin at 0.
        self._drift = ConfidenceDrift()
        self._before = {name: count for name, count in self._before.items() if not name.startswith(OF_A_MODEL)}
        self._metrics.model.info(
            {"name": model.name, "version": model.version, "digest": model.digest, "device": str(model.device)}
        )
        _log.info("model", extra={"model_name": model.name, "digest": model.digest[:12], "device": str(model.device)})

    def reloads(self, reloader: CheckpointReloader) -> None:
        """Count newer checkpoints that came to serve, and those that could not be loaded."""
        for outcome, count in reloader.outcomes.items():
            self._add(self._metrics.reloads, (outcome,), self._rise(f"reload {outcome}", count))

    def lost(self, number: int, count: int) -> None:
        """Report window records of a partition that were deleted before they were read."""
        if count:
            self._metrics.windows_lost.inc(count)
            _log.error("windows were deleted before they were read", extra={"partition": number, "lost": count})

    def lag(self, topic: str, records: int, oldest_ms: int | None) -> None:
        """Report the lag in windows, and when (ms) the oldest fetched one was appended; None if none was fetched."""
        self._metrics.lag.set({topic: records}, {} if oldest_ms is None else {topic: oldest_ms})

    def level(self, level: int) -> None:
        """Report the level of overload."""
        self._metrics.overload_level.set(level)

    def passed(self, released: ReleasedBatch) -> None:
        """Count the early windows that a batch skipped, and those of them that overload left out."""
        early = sum(not q.window.final for q in released.skipped)
        self._metrics.early_dropped.inc(early)
        if released.level >= SKIP_EARLY:
            self._metrics.degraded.labels(str(SKIP_EARLY)).inc(early)

    def batch(
        self,
        published: Sequence[PublishedPrediction],
        released: ReleasedBatch,
        missed: int,
        inference: Inference,
        fetcher: PayloadFetcher,
        redis_errors: int,
        spent_ms: Mapping[str, float],
    ) -> None:
        """Count an acknowledged batch; missed: its windows that were predicted after they were due."""
        m = self._metrics
        contribution = {modality: self._of(m.contribution, (modality,)) for modality in inference.model.modalities}
        m.batch_windows.observe(len(published))
        self._add(m.batches, (released.reason,), 1)
        m.deadline_missed.inc(missed)
        for stage, ms in spent_ms.items():
            self._of(m.stage_duration, (stage,)).observe(ms / 1000)
        # Incrementing a series costs more than all else here: once a batch for each series.
        counts: Counter[tuple[Any, tuple[str, ...]]] = Counter()
        for one in published:
            p, final = one.prediction, one.prediction.window.final
            counts[m.predictions, (p.result.label or "error", "final" if final else "early")] += 1
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
                counts[m.members_unusable, (modality, rejected.reason.value)] += 1
            if final and p.modalities:
                confidence = p.rows.max(1).tolist()
                for n, modality in enumerate(p.modalities):
                    share = p.contributions.get(modality, 0.0)
                    if share:  # exactly 0: absent
                        contribution[modality].observe(abs(share))
                        self._drift.observe(modality, exp(confidence[1 << n]))
            if final and p.result.odd is not None:
                counts[m.conflicts, ()] += 1
        for (series, labels), count in counts.items():
            self._add(series, labels, count)
        for modality, score in self._drift.scores().items():
            self._of(m.drift, (modality,)).set(score)
        for source, count in fetcher.counts.items():
            self._add(m.payloads_fetched, (source,), self._rise(f"fetch {source}", count))
        for modality, count in inference.encoded.items():
            labels, asked = (modality,), inference.requested[modality]
            self._add(m.encoded, labels, self._rise(f"encoded {modality}", count))
            self._add(m.encoded_again, labels, self._rise(f"again {modality}", inference.reencoded[modality]))
            self._add(m.cache_queries, labels, self._rise(f"asked {modality}", asked))
            self._add(m.cache_hits, labels, self._rise(f"hits {modality}", asked - count))
            self._add(
                m.cache_evictions, labels, self._rise(f"evicted {modality}", inference.features.evicted[modality])
            )
        m.cache_bytes.set(inference.features.bytes)
        m.redis_errors.inc(self._rise("redis", redis_errors))
        self._tracer.export(window_spans(published, released, self._tracer.share))

    def _of(self, metric: Any, labels: tuple[str, ...]) -> Any:
        """Return the series of a metric with these labels."""
        series = self._series.get((metric, labels))
        if series is None:
            series = self._series[metric, labels] = metric.labels(*labels) if labels else metric
        return series

    def _add(self, metric: Any, labels: tuple[str, ...], count: int) -> None:
        """Increment a series; one that does not rise exists from now on."""
        series = self._of(metric, labels)
        if count:
            series.inc(count)

    def _rise(self, name: str, now: int) -> int:
        """Return how much a count has risen; one that fell begins anew, as after a failure of Kafka."""
        rise = max(now - self._before.get(name, 0), 0)
        self._before[name] = now
        return rise
