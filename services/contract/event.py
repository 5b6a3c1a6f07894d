"""The event record: what a home or an assistant subscribes to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.contract import canonical


@dataclass(frozen=True, slots=True)
class Event:
    """One step in the life of an event; times in microseconds of event time.

    id: session and start of its first window, the same from new to end. lifecycle: new, update or end. final False:
    said on an early answer, confirmed by a final one of the same id or withdrawn when `expires_us` has passed.
    prediction: the id of the prediction that led to it.
    """

    id: str
    session: str
    lifecycle: str
    label: str
    kind: str
    start_us: int
    end_us: int
    confidence: float
    expires_us: int
    final: bool
    prediction: str


def event_id(session: str, first_window_start_us: int) -> str:
    """The id that an event has from its first word on."""
    return f"{session}/{first_window_start_us // 1000}"


def encode(event: Event) -> bytes:
    """The canonical bytes of an event record."""
    return canonical.dumps(
        {
            "id": event.id,
            "session": event.session,
            "lifecycle": event.lifecycle,
            "label": event.label,
            "kind": event.kind,
            "start": event.start_us,
            "end": event.end_us,
            "confidence": round(event.confidence, 6) + 0.0,
            "expires": event.expires_us,
            "final": event.final,
            "prediction": event.prediction,
        }
    )


def decode(raw: bytes) -> Event:
    """Read an event record. Raises canonical.InvalidJson or KeyError where it is none."""
    r: dict[str, Any] = canonical.loads_object(raw)
    return Event(
        r["id"],
        r["session"],
        r["lifecycle"],
        r["label"],
        r["kind"],
        r["start"],
        r["end"],
        r["confidence"],
        r["expires"],
        r["final"],
        r["prediction"],
    )
