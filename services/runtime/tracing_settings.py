"""The settings of traces."""

from __future__ import annotations

from pydantic import Field

from services.runtime.section import Section


class TracingSettings(Section):
    """Traces to an OpenTelemetry collector; no endpoint, no traces.

    endpoint: where OTLP over HTTP is taken, without the path (http://127.0.0.1:4318). share: of all windows, so many are
    traced. queue_max: spans that wait; what comes while it is full is dropped.
    """

    endpoint: str = Field("", pattern=r"^(https?://[^/\s]+/?)?$")
    share: float = Field(1.0, ge=0, le=1)
    queue_max: int = Field(8_192, ge=512, le=1_000_000)

    @property
    def traced(self) -> float:
        """The share of windows that are traced: none without an endpoint."""
        return self.share if self.endpoint else 0.0
