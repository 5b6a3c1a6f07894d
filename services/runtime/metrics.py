"""Metrics of the services, named as the documentation lists them; observed per batch, no label names a session."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from services.contract import trace

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5)
# Differences of log probabilities, no times.
BUCKETS_NATS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


def make_registry(service: str) -> CollectorRegistry:
    """A registry of one process with its build in it."""
    registry = CollectorRegistry()
    build = Info("braid_build", "What runs here.", registry=registry)
    build.info({"service": service, "version": version("braid"), "python": platform.python_version()})
    return registry


def exemplar(window_id: str, share: float) -> dict[str, str] | None:
    """What links an observation to its window's trace, None for a window that is not traced."""
    return {"trace_id": trace.trace_id(window_id)} if trace.traced(window_id, share) else None


class Lag:
    """How far a service is behind its topics, on the broker's clock against its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._records = Gauge(
            "braid_consumer_lag_records", "Records not handed over yet.", ("topic",), registry=registry
        )
        self._seconds = Gauge(
            "braid_consumer_lag_seconds", "Age of the oldest record handed over last.", ("topic",), registry=registry
        )

    def set(self, records: Mapping[str, int], oldest_ms: Mapping[str, int]) -> None:
        """records: not handed over yet, by topic; oldest_ms: append time of the oldest one in the batch, where one is."""
        now_ms = time.time() * 1000
        for topic, count in records.items():
            self._records.labels(topic).set(count)
            if topic in oldest_ms:
                self._seconds.labels(topic).set(max(now_ms - oldest_ms[topic], 0.0) / 1000)
            elif not count:
                self._seconds.labels(topic).set(0)


class AlignerMetrics:
    """What an aligner counts; counters are of this process since its start, at least once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"braid_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(f"braid_{name}", text, labels, registry=registry, buckets=BUCKETS_S)

        self.consumed = counter("events_consumed", "Media records read, ticks and ends aside.", "modality")
        self.rejected = counter("events_rejected", "Records refused, by reason.", "modality", "reason")
        self.fates = counter("fates", "Fates of chunks.", "modality", "fate")
        self.windows = counter("windows", "Windows sent.", "outcome")
        self.window_modality = counter("window_modality", "Masks of final windows.", "modality", "state")
        self.lost = counter("records_lost", "Records that retention deleted before they were read.", "modality")
        self.windows_open = Gauge("braid_windows_open", "Open windows.", registry=registry)
        self.sessions_open = Gauge("braid_sessions_open", "Sessions with open windows.", registry=registry)
        self.partitions = Gauge("braid_partitions", "Partition numbers owned.", registry=registry)
        self.clock_offset = Gauge(
            "braid_source_clock_offset_seconds",
            "Smallest arrival minus end of capture of a source over the last batches.",
            ("modality", "source"),
            registry=registry,
        )
        self.lag = Lag(registry)
        self.bound_lag = Gauge(
            "braid_bound_lag_seconds",
            "How far the bound of a modality is behind that of another, in the open session where most.",
            ("modality",),
            registry=registry,
        )
        self.wait = histogram("alignment_wait_seconds", "First member to closing record, on the broker's clock.")
        self.lateness = histogram("lateness_seconds", "How far behind late chunks were.", "modality")
        self.batch = histogram("stage_duration_seconds", "Time of a batch in each stage.", "stage")
        self.redis_errors = counter("redis_errors", "Failed or refused Redis pipelines.")


class FusionMetrics:
    """What a fusion worker counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"braid_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(f"braid_{name}", text, labels, registry=registry, buckets=BUCKETS_S)

        self.predictions = counter("predictions", "Predictions sent.", "label", "lifecycle")
        self.events = counter("events", "Events sent.", "kind", "lifecycle")
        self.dropped = counter("early_dropped", "Early answers not needed any more.")
        self.unusable = counter("members_unusable", "Members that could not be used.", "modality", "reason")
        self.fetched = counter("payload_fetch", "Where payloads came from.", "from")
        self.queries = counter("encoder_cache_queries", "Items asked of the encoder cache.", "modality")
        self.hits = counter("encoder_cache_hits", "Items found there.", "modality")
        self.evictions = counter("encoder_cache_evictions", "Items dropped from it for room.", "modality")
        self.encoded = counter("encoder_items", "Items encoded.", "modality")
        self.again = counter("encoder_items_again", "Those that had been encoded before.", "modality")
        self.cache_bytes = Gauge("braid_encoder_cache_bytes", "Bytes in the encoder cache.", registry=registry)
        self.conflicts = counter("conflict", "Final predictions in which the senses contradict each other.")
        self.contribution = Histogram(
            "braid_contribution",
            "Size of contributions to final answers, in nats.",
            ("modality",),
            registry=registry,
            buckets=BUCKETS_NATS,
        )
        self.drift = Gauge(
            "braid_drift_score",
            "How far how sure a sense alone is lately is from before: 0 not at all, 1 wholly.",
            ("modality",),
            registry=registry,
        )
        self.latency = histogram("window_latency_seconds", "Closing record to prediction sent.", "span")
        self.stage = histogram("stage_duration_seconds", "Time of a batch in each stage.", "stage")
        self.queue_wait = histogram("queue_wait_seconds", "Window sent to window taken up.")
        self.lag = Lag(registry)
        self.batch = Histogram(
            "braid_batch_windows", "Windows in a batch.", registry=registry, buckets=(1, 2, 4, 8, 16, 32, 64, 128)
        )
        self.batches = counter("batches", "Batches, by why they were released.", "release")
        self.missed = counter("deadline_missed", "Windows answered after they were due.")
        self.degraded = counter(
            "degraded",
            "Early answers left out (level 1) and windows answered with less (2, 3) under overload.",
            "level",
        )
        self.level = Gauge("braid_overload_level", "How much overload leaves out now.", registry=registry)
        self.redis_errors = counter("redis_errors", "Failed or refused Redis pipelines.")
        self.reloads = counter("model_reloads", "Newer checkpoints that came while this served.", "outcome")
        self.model = Info("braid_model", "The model that serves.", registry=registry)


class GatewayMetrics:
    """What a gateway counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"braid_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"braid_{name}", text, registry=registry)

        self.read = counter("gateway_records", "Records read from the topics.", "topic")
        self.skipped = counter("gateway_records_skipped", "Records passed over to stay with what is new.", "topic")
        self.unread = counter("gateway_records_unreadable", "Records that are none of this contract.", "topic")
        self.requests = counter("gateway_requests", "Requests, by status code.", "status")
        self.taken = counter("gateway_media_taken", "Media acknowledged by the broker for HTTP devices.", "modality")
        self.refused = counter("gateway_media_refused", "Media refused at the door.", "reason")
        self.media = counter("gateway_media_served", "Where served media came from.", "from")
        self.kept_events = counter(
            "gateway_events_kept", "Events that ended: what became of their evidence.", "outcome"
        )
        self.sessions = gauge("gateway_sessions", "Sessions kept for the page.")
        self.kept_bytes = gauge("gateway_kept_bytes", "Bytes of records kept for the page.")
        self.streams = gauge("gateway_streams", "Open event streams.")


class MqttMetrics:
    """What a bridge to MQTT counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sent = Counter("braid_mqtt_messages", "Messages that the broker took.", ("kind",), registry=registry)
        self.dropped = Counter(
            "braid_mqtt_dropped", "Messages with no room or no broker.", ("kind",), registry=registry
        )
        self.unread = Counter(
            "braid_mqtt_records_unreadable", "Records that are none of this contract.", registry=registry
        )
        self.connected = Gauge("braid_mqtt_connected", "1 while the broker is there.", registry=registry)
        self.sessions = Gauge("braid_mqtt_sessions", "Sessions that Home Assistant was told of.", registry=registry)


class WyomingMetrics:
    """What a bridge from Wyoming counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        modality = ("modality",)
        self.taken = Counter("braid_wyoming_records", "Records that the broker took.", modality, registry=registry)
        self.lost = Counter("braid_wyoming_lost", "Records that the broker did not take.", modality, registry=registry)
        self.refused = Counter(
            "braid_wyoming_refused", "Satellites cut off or not served, by why.", ("why",), registry=registry
        )
        self.connections = Gauge("braid_wyoming_connections", "Satellites that are connected.", registry=registry)
