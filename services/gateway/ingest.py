"""The trace of a record that comes in by HTTP: the device's own, or one that begins here. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from services.contract import trace
from services.contract.prediction import TRACE_HEADER
from services.runtime.tracing import Attributes, Span


@dataclass(frozen=True, slots=True)
class Ingest:
    """What a record carries of its trace; span_id: of the span `ingest` to tell, None where none is told."""

    headers: list[tuple[str, bytes]]
    trace_id: str = ""
    span_id: str | None = None
    parent: str | None = None

    def span(self, modality: str, at: tuple[int, int], begins_us: int, ends_us: int) -> list[Span]:
        """From the request to the broker's acknowledgement; at: partition and offset."""
        if self.span_id is None:
            return []
        about: Attributes = {"braid.modality": modality, "braid.partition": at[0], "braid.offset": at[1]}
        return [Span("ingest", self.trace_id, self.span_id, self.parent, begins_us, ends_us, about)]


def ingest(given: str | None, name: str, share: float) -> Ingest:
    """given: the `traceparent` that the device sent; name: of the record, which no other has; share: of what is traced.

    A trace that the device says is recorded goes on with a span of ours; one that is not goes on as it is, and so does
    each where we trace nothing. What is no traceparent is left out.
    """
    header = (given or "").encode(errors="replace")
    parent = trace.parent(header)
    if parent is None and not trace.traced(name, share):
        return Ingest([])
    if parent is not None and not (parent.sampled and share > 0):
        return Ingest([(TRACE_HEADER, header)])
    of, span = trace.trace_id(name) if parent is None else parent.trace_id, trace.span_id(name, "ingest")
    return Ingest([(TRACE_HEADER, f"00-{of}-{span}-01".encode())], of, span, parent and parent.span_id)
