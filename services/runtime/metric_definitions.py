"""Prometheus metrics of the services; docs/metrics.md lists them. No label names a session."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from services.contract import trace_context

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.035, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5)
# Contributions are differences of log probabilities, not times.
BUCKETS_NATS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

# Of the process: readers of every kind count in them.
FETCHES = Counter("braid_kafka_fetches", "Fetch requests to Kafka.", registry=None)
RECORDS_SKIPPED = Counter(
    "braid_records_skipped", "Records that readers passed over, by reason.", ("topic", "reason"), registry=None
)


def make_registry(service: str) -> CollectorRegistry:
    """Return the registry of one process, which states its build."""
    registry = CollectorRegistry()
    registry.register(FETCHES)
    registry.register(RECORDS_SKIPPED)
    build = Info("braid_build", "Service, its version and that of Python.", registry=registry)
    build.info({"service": service, "version": version("braid"), "python": platform.python_version()})
    return registry


def exemplar(window_id: str, share: float) -> dict[str, str] | None:
    """Return the label that links an observation to its window's trace; None if the window is not traced."""
    return {"trace_id": trace_context.trace_id(window_id)} if trace_context.is_traced(window_id, share) else None


class ConsumerLag:
    """Consumer lag of a service, by the broker's clock against its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._records = Gauge("braid_consumer_lag_records", "Records not read yet.", ("topic",), registry=registry)
        self._seconds = Gauge(
            "braid_consumer_lag_seconds", "Age of the oldest record in the last batch.", ("topic",), registry=registry
        )

    def set(self, records: Mapping[str, int], oldest_ms: Mapping[str, int]) -> None:
        """Set the lag.

        Args:
            records: Records not read yet, by topic.
            oldest_ms: Append time of the oldest record in the batch, by topic; topics without one are missing.
        """
        now_ms = time.time() * 1000
        for topic, count in records.items():
            self._records.labels(topic).set(count)
            if topic in oldest_ms:
                self._seconds.labels(topic).set(max(now_ms - oldest_ms[topic], 0.0) / 1000)
            elif not count:
                self._seconds.labels(topic).set(0)


class AlignerMetrics:
    """Metrics of an aligner. Counters cover this process since its start; a restart may count a record again."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"braid_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(f"braid_{name}", text, labels, registry=registry, buckets=BUCKETS_S)

        self.consumed = counter(
            "events_consumed", "Media records read, without idle records and session ends.", "modality"
        )
        self.rejected = counter("events_rejected", "Records rejected, by reason.", "modality", "reason")
        self.fates = counter("fates", "Chunks by fate: windowed, late, duplicate, dead (rejected).", "modality", "fate")
        self.windows = counter("windows", "Windows published.", "outcome")
        self.window_modality = counter(
            "window_modality", "Streams of final windows by state: present, absent, unknown.", "modality", "state"
        )
        self.records_lost = counter(
            "records_lost", "Records that were deleted before they were read, at most.", "modality"
        )
        self.windows_open = Gauge("braid_windows_open", "Open windows.", registry=registry)
        self.sessions_open = Gauge("braid_sessions_open", "Sessions with open windows.", registry=registry)
        self.partitions = Gauge("braid_partitions", "Partitions owned.", registry=registry)
        self.clock_offset = Gauge(
            "braid_source_clock_offset_seconds",
            "Smallest difference between arrival and end of capture of a source over the last minute.",
            ("modality", "source"),
            registry=registry,
        )
        self.lag = ConsumerLag(registry)
        self.watermark_lag = Gauge(
            "braid_bound_lag_seconds",
            "How far the watermark of a modality is behind another's, in the open session where it is most.",
            ("modality",),
            registry=registry,
        )
        self.alignment_wait = histogram(
            "alignment_wait_seconds",
            "From the first chunk of a window to the record that completed it, by the broker's clock.",
        )
        self.lateness = histogram("lateness_seconds", "How far late chunks were behind the watermark.", "modality")
        self.stage_duration = histogram("stage_duration_seconds", "Duration of each stage, per batch.", "stage")
        self.redis_errors = counter("redis_errors", "Redis pipelines that failed or were refused.")


class FusionMetrics:
    """Metrics of a fusion worker."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"braid_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(f"braid_{name}", text, labels, registry=registry, buckets=BUCKETS_S)

        self.predictions = counter("predictions", "Predictions published, early and final.", "label", "lifecycle")
        self.windows_lost = counter("windows_lost", "Windows that were deleted before they were read, at most.")
        self.events = counter("events", "Event records published.", "kind", "lifecycle")
        self.early_dropped = counter("early_dropped", "Early predictions dropped because a final one was queued.")
        self.members_unusable = counter("members_unusable", "Chunks that could not be used.", "modality", "reason")
        self.payloads_fetched = counter("payload_fetch", "Where payloads came from.", "from")
        self.cache_queries = counter("encoder_cache_queries", "Look-ups in the encoder cache.", "modality")
        self.cache_hits = counter("encoder_cache_hits", "Hits in the encoder cache.", "modality")
        self.cache_evictions = counter("encoder_cache_evictions", "Entries evicted from the encoder cache.", "modality")
        self.encoded = counter("encoder_items", "Chunks encoded.", "modality")
        self.encoded_again = counter("encoder_items_again", "Chunks that were encoded again.", "modality")
        self.cache_bytes = Gauge("braid_encoder_cache_bytes", "Size of the encoder cache.", registry=registry)
        self.conflicts = counter("conflict", "Final predictions whose modalities contradict each other.")
        self.contribution = Histogram(
            "braid_contribution",
            "Size of the contributions to final predictions, in nats.",
            ("modality",),
            registry=registry,
            buckets=BUCKETS_NATS,
        )
        self.drift = Gauge(
            "braid_drift_score",
            "Drift of single-modality confidence: Jensen-Shannon divergence of recent against past (0 none, 1 total).",
            ("modality",),
            registry=registry,
        )
        self.window_latency = histogram(
            "window_latency_seconds", "From publishing a window to publishing its prediction.", "span"
        )
        self.stage_duration = histogram("stage_duration_seconds", "Duration of each stage, per batch.", "stage")
        self.queue_wait = histogram("queue_wait_seconds", "From publishing a window to the start of its batch.")
        self.lag = ConsumerLag(registry)
        self.batch_windows = Histogram(
            "braid_batch_windows", "Windows in a batch.", registry=registry, buckets=(1, 2, 4, 8, 16, 32, 64, 128)
        )
        self.batches = counter("batches", "Batches by the reason they started.", "release")
        self.deadline_missed = counter("deadline_missed", "Predictions after their deadline.")
        self.degraded = counter(
            "degraded",
            "Early predictions skipped (level 1) and predictions from reduced inputs (2, 3) under overload.",
            "level",
        )
        self.overload_level = Gauge("braid_overload_level", "Current load-shedding level.", registry=registry)
        self.redis_errors = counter("redis_errors", "Redis pipelines that failed or were refused.")
        self.reloads = counter(
            "model_reloads", "Newer checkpoints, by outcome: served, refused, incomplete (tried again).", "outcome"
        )
        self.model = Info("braid_model", "The model in use.", registry=registry)


class GatewayMetrics:
    """Metrics of a gateway."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"braid_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(f"braid_{name}", text, registry=registry)

        self.records = counter("gateway_records", "Records read.", "topic")
        self.records_skipped = counter("gateway_records_skipped", "Records skipped to stay current.", "topic")
        self.records_unreadable = counter(
            "gateway_records_unreadable", "Records that do not follow the contract.", "topic"
        )
        self.requests = counter("gateway_requests", "HTTP requests by status code.", "status")
        self.connections_closed = counter(
            "gateway_connections_closed",
            "Connections closed by a limit: headers (they took too long), displaced (by a new connection), refused (all in "
            "use), unread (the client did not read).",
            "reason",
        )
        self.media_accepted = counter(
            "gateway_media_taken", "Media received over HTTP and acknowledged by Kafka.", "modality"
        )
        self.media_rejected = counter("gateway_media_refused", "Media refused over HTTP, by reason.", "reason")
        self.media_served = counter("gateway_media_served", "Media served, by where they came from.", "from")
        self.events_archived = counter(
            "gateway_events_kept", "Ended events, by whether their evidence was stored.", "outcome"
        )
        self.sessions = gauge("gateway_sessions", "Sessions in memory for the page.")
        self.history_bytes = gauge("gateway_kept_bytes", "Bytes of records in memory for the page.")
        self.streams = gauge("gateway_streams", "Open event streams.")


class MqttMetrics:
    """Metrics of a bridge to MQTT."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.published = Counter("braid_mqtt_messages", "Messages published.", ("kind",), registry=registry)
        self.dropped = Counter(
            "braid_mqtt_dropped", "Messages dropped: queue full or broker away.", ("kind",), registry=registry
        )
        self.records_unreadable = Counter(
            "braid_mqtt_records_unreadable", "Records that do not follow the contract.", registry=registry
        )
        self.connected = Gauge("braid_mqtt_connected", "1 while connected to the MQTT broker.", registry=registry)
        self.sessions = Gauge("braid_mqtt_sessions", "Sessions announced to Home Assistant.", registry=registry)


class WyomingMetrics:
    """Metrics of a bridge from Wyoming."""

    def __init__(self, registry: CollectorRegistry) -> None:
        modality = ("modality",)
        self.records = Counter("braid_wyoming_records", "Records acknowledged by Kafka.", modality, registry=registry)
        self.records_lost = Counter(
            "braid_wyoming_lost", "Records that Kafka did not acknowledge.", modality, registry=registry
        )
        self.connections_rejected = Counter(
            "braid_wyoming_refused", "Satellites refused or disconnected, by reason.", ("why",), registry=registry
        )
        self.connections = Gauge("braid_wyoming_connections", "Connected satellites.", registry=registry)
