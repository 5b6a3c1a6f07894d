"""Export of spans to an OpenTelemetry collector, from a thread."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from services.runtime.settings import SettingsError, TracingSettings

EXPORT_TIMEOUT_S = 5
EXPORT_EVERY_MS = 1_000
Attributes = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Span:
    """A finished span: times in microseconds since the epoch, ids in hex, links as (trace id, span id)."""

    name: str
    trace_id: str
    id: str
    parent: str | None
    begins_us: int
    ends_us: int
    attributes: Attributes = field(default_factory=dict)
    links: Sequence[tuple[str, str]] = ()


class Tracer:
    """An exporter that never blocks: spans that the collector does not accept in time are dropped.

    Attributes:
        share: Share of windows that are traced; 0 without an endpoint.

    Raises:
        SettingsError: An endpoint is set and OpenTelemetry is not installed.
    """

    def __init__(self, settings: TracingSettings, service: str) -> None:
        self.share = settings.sampled_share
        if not self.share:
            return
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError:
            raise SettingsError(
                "Traces cannot be exported.",
                "tracing.endpoint is set, and OpenTelemetry is not installed.",
                "Run pip install 'braid[otel]', or leave tracing.endpoint empty.",
            ) from None
        self._resource = Resource({"service.name": service, "service.version": version("braid")})
        self._exporter = OTLPSpanExporter(
            endpoint=f"{settings.endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S
        )
        self._processor = BatchSpanProcessor(
            self._exporter, max_queue_size=settings.queue_max, schedule_delay_millis=EXPORT_EVERY_MS
        )

    def export(self, spans: Sequence[Span]) -> None:
        """Queue spans for export; without an endpoint this does nothing."""
        if not self.share or not spans:
            return
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import Link, SpanContext, TraceFlags

        def context(trace_id: str, span_id: str) -> SpanContext:
            return SpanContext(int(trace_id, 16), int(span_id, 16), False, TraceFlags(TraceFlags.SAMPLED))

        for span in spans:
            self._processor.on_end(
                ReadableSpan(
                    span.name,
                    context(span.trace_id, span.id),
                    None if span.parent is None else context(span.trace_id, span.parent),
                    self._resource,
                    span.attributes,
                    links=[Link(context(*link)) for link in span.links],
                    start_time=span.begins_us * 1000,
                    end_time=span.ends_us * 1000,
                )
            )

    def close(self) -> None:
        """Export queued spans for at most five seconds, then stop."""
        if not self.share:
            return
        # Without this limit the processor retries for half a minute if the collector does not answer.
        limit = threading.Timer(EXPORT_TIMEOUT_S, self._exporter.shutdown)
        limit.start()
        self._processor.shutdown()  # type: ignore[no-untyped-call]
        limit.cancel()
