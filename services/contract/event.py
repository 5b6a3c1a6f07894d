"""The event record, which home automation and assistants subscribe to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from services.contract import canonical


@dataclass(frozen=True, slots=True)
class Event:
    """One step in the life of an event; times in microseconds of event time.

    Attributes:
        id: Session and start of the first window; the same from new to end.
        lifecycle: new, update or end.
        expires_us: When the event is over unless it is updated.
        final: False if it rests on an early prediction; a final record with the same id confirms it, or it expires.
        prediction: Id of the prediction that led to this step.
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
    """Return the id of an event, which follows from its first window."""
    return f"{session}/{first_window_start_us // 1000}"


def encode(event: Event) -> bytes:
    """Return the canonical bytes of an event record."""
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
    """Decode an event record. Raises canonical.InvalidJson or KeyError if it is invalid."""
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
