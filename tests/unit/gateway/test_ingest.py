"""Which trace a record that comes in by HTTP belongs to, and what of it is told."""

from __future__ import annotations

import pytest

from services.contract import trace_context
from services.gateway.ingest import IngestTrace, trace_of

OF, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RECORDED, NOT_RECORDED = f"00-{OF}-{SPAN}-01", f"00-{OF}-{SPAN}-00"


def carried(found: IngestTrace) -> list[str]:
    return [raw.decode() for name, raw in found.headers if name == "traceparent"]


def test_a_trace_of_the_device_goes_on_with_a_span_of_ours() -> None:
    found = trace_of(RECORDED, "a record", 1.0)
    (span,) = found.span("text", (2, 7), 10, 30)
    assert (span.name, span.trace_id, span.parent, span.begins_us, span.ends_us) == ("ingest", OF, SPAN, 10, 30)
    assert carried(found) == [f"00-{OF}-{span.id}-01"]


def test_without_one_a_trace_begins_here_for_the_share_that_is_traced() -> None:
    found = trace_of(None, "a record", 1.0)
    (span,) = found.span("text", (0, 0), 0, 1)
    assert (span.trace_id, span.parent) == (trace_context.trace_id("a record"), None)
    assert trace_of(None, "a record", 1e-9) == IngestTrace([])


@pytest.mark.parametrize(("given", "share"), [(RECORDED, 0.0), (NOT_RECORDED, 0.0), (NOT_RECORDED, 1.0)])
def test_what_is_not_traced_is_carried_on_as_it_came(given: str, share: float) -> None:
    found = trace_of(given, "a record", share)
    assert carried(found) == [given]
    assert found.span("text", (0, 0), 0, 1) == []


@pytest.mark.parametrize(
    "bad", ["", "00-7", f"ff-{OF}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{OF}-{'0' * 16}-01", "é"]
)
def test_what_is_no_traceparent_is_left_out(bad: str) -> None:
    assert trace_of(bad, "a record", 0.0) == IngestTrace([])
