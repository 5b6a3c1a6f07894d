"""Trace context (W3C): the ids of a window's trace follow from the window's id, so every service uses the same ones."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

_PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
# Sampling uses the lower half of an id, as OpenTelemetry's TraceIdRatioBased sampler does.
_LOWER = 1 << 64


def trace_id(window_id: str) -> str:
    """Return the trace id of a window: 32 hex digits."""
    return hashlib.sha256(f"trace {window_id}".encode()).hexdigest()[:32]


def span_id(window_id: str, name: str = "") -> str:
    """Return the id of a span of a window's trace, the root span if `name` is empty: 16 hex digits."""
    return hashlib.sha256(f"span {name} {window_id}".encode()).hexdigest()[:16]


def is_traced(window_id: str, share: float) -> bool:
    """Return True for a share of all windows (0: none, 1: all); every process samples the same ones."""
    return share > 0 and int(trace_id(window_id)[16:], 16) < share * _LOWER


def traceparent(window_id: str) -> bytes:
    """Return the W3C header with which a consumer of a prediction continues the window's trace."""
    return f"00-{trace_id(window_id)}-{span_id(window_id)}-01".encode()


class TraceParent(NamedTuple):
    """The parsed traceparent header; `sampled` is True if its sender records the trace."""

    trace_id: str
    span_id: str
    sampled: bool


def parse_traceparent(header: bytes | None) -> TraceParent | None:
    """Parse a traceparent header; return None if it is missing or invalid."""
    match = _PARENT.fullmatch(header or b"")
    return TraceParent(match[1].decode(), match[2].decode(), bool(int(match[3], 16) & 1)) if match else None


def trace_id_of_header(header: bytes | None) -> str | None:
    """Return the trace id of a traceparent header, None if there is none."""
    parent = parse_traceparent(header)
    return parent.trace_id if parent else None
