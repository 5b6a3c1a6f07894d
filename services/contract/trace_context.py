"""Names of traces: a window's trace has the same ids wherever it is told of, for they follow from the window's id. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

_PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
# The share is taken of the lower half of an id, as OpenTelemetry's own sampler by trace id does.
_LOWER = 1 << 64


def trace_id(window_id: str) -> str:
    """The trace of a window: 32 hex digits."""
    return hashlib.sha256(f"trace {window_id}".encode()).hexdigest()[:32]


def span_id(window_id: str, name: str = "") -> str:
    """One span of a window's trace, its root where no name is given: 16 hex digits."""
    return hashlib.sha256(f"span {name} {window_id}".encode()).hexdigest()[:16]


def is_traced(window_id: str, share: float) -> bool:
    """True for so large a share of all windows (0: none, 1: all), for the same ones in every process."""
    return share > 0 and int(trace_id(window_id)[16:], 16) < share * _LOWER


def traceparent(window_id: str) -> bytes:
    """The W3C header under which whoever reads an answer goes on with its window's trace."""
    return f"00-{trace_id(window_id)}-{span_id(window_id)}-01".encode()


class TraceParent(NamedTuple):
    """The trace and the span that a traceparent names, and whether its sender records them."""

    trace_id: str
    span_id: str
    sampled: bool


def parse_traceparent(header: bytes | None) -> TraceParent | None:
    """What a traceparent header says, None where there is none or it is not of the W3C's form."""
    found = _PARENT.fullmatch(header or b"")
    return TraceParent(found[1].decode(), found[2].decode(), bool(int(found[3], 16) & 1)) if found else None


def trace_id_of_header(header: bytes | None) -> str | None:
    """The trace id of a traceparent header, None where there is none."""
    found = parse_traceparent(header)
    return found.trace_id if found else None
