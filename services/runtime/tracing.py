"""Traces: spans that were measured already, handed to an OpenTelemetry collector from a thread. The only door to it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version

from services.runtime.settings import SettingsError, TracingSettings

WITHIN_S = 5
EVERY_MS = 1_000
Attributes = Mapping[str, str | int | float | bool]


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took from begins_us to ends_us (us since the epoch); ids in hex, links: (trace, span) of others."""

    name: str
    trace_id: str
    id: str
    parent: str | None
    begins_us: int
    ends_us: int
    attributes: Attributes = field(default_factory=dict)
    links: Sequence[tuple[str, str]] = ()


class Tracer:
    """Takes spans and never waits: what a collector cannot take in time is dropped.

    Raises SettingsError where an endpoint is set and the extra `otel` is not installed.
    """

    def __init__(self, settings: TracingSettings, service: str) -> None:
        self.share = settings.traced
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
        self._exporter = OTLPSpanExporter(endpoint=f"{settings.endpoint.rstrip('/')}/v1/traces", timeout=WITHIN_S)
        self._processor = BatchSpanProcessor(
            self._exporter, max_queue_size=settings.queue_max, schedule_delay_millis=EVERY_MS
        )

    def tell(self, spans: Sequence[Span]) -> None:
        """Hand spans over; nothing where no traces are asked for."""
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
        """Hand over what waits, as far as a collector takes it within five seconds; then there are no more."""
        if not self.share:
            return
        # The processor itself goes on for half a minute where nobody answers.
        enough = threading.Timer(WITHIN_S, self._exporter.shutdown)
        enough.start()
        self._processor.shutdown()  # type: ignore[no-untyped-call]
        enough.cancel()
