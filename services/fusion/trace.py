"""The spans of a batch: each window from its first record to its answer, in the parts of its latency. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from services.contract import trace
from services.fusion.batch import Released
from services.fusion.publish import Said
from services.runtime.tracing import Attributes, Span

# What a batch does for all of its windows at once.
SHARED = ("fetch", "decode", "encode", "fuse", "publish")


def spans(said: Sequence[Said], released: Released, share: float) -> list[Span]:
    """A trace for each window that is traced, and one for the batch, linked to them."""
    told = [one for one in said if trace.traced(one.predicted.window.id, share)]
    return [span for one in told for span in _window(one)] + ([_batch(told, released)] if told else [])


def _window(one: Said) -> Iterator[Span]:
    predicted, window = one.predicted, one.predicted.window
    of, root = trace.trace_id(window.id), trace.span_id(window.id)
    at_us = window.opened_us
    for key, ms in one.latency_ms:
        ends_us = at_us + round(ms * 1000)
        yield Span(key, of, trace.span_id(window.id, key), root, at_us, ends_us)
        at_us = ends_us
    attributes: Attributes = {
        "braid.window": window.id,
        "braid.prediction": predicted.id,
        "braid.session": window.session,
        "braid.final": window.final,
        "braid.label": predicted.answer.label or "error",
        "braid.level": predicted.level,
        "messaging.kafka.partition": one.number,
    }
    yield Span("window", of, root, None, window.opened_us, at_us, attributes)


def _batch(told: Sequence[Said], released: Released) -> Span:
    first = told[0].predicted.window.id
    parts = dict(told[0].latency_ms)
    ends_us = told[0].predicted.window.opened_us + round(sum(parts.values()) * 1000)
    begins_us = ends_us - round(sum(parts[key] for key in SHARED) * 1000)
    attributes: Attributes = {
        "braid.windows": len(released.windows),
        "braid.release": released.release,
        "braid.level": released.level,
    }
    links = [(trace.trace_id(one.predicted.window.id), trace.span_id(one.predicted.window.id)) for one in told]
    return Span(
        "batch",
        trace.trace_id(f"batch {first}"),
        trace.span_id(first, "batch"),
        None,
        begins_us,
        ends_us,
        attributes,
        links,
    )
