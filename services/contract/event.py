"""The event record, which home automation and assistants subscribe to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from services.contract import canonical
from services.contract.record_fields import flag, number, text, time_us
from services.contract.session_reset import parse_generation


@dataclass(frozen=True, slots=True)
class Event:
    """One step in the life of an event; times in microseconds of event time.

    Attributes:
        id: Session, chain of windows, and the event's number in it; the same from new to end.
        lifecycle: new, update or end; withdrawn for a provisional event that no final one confirms.
        expires_us: When the event is over unless it is updated.
        final: False if it rests on an early prediction; a final record with the same id confirms it, a withdrawn one takes
            it back, or it expires.
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


def event_id(session: str, chain_us: int, number: int, generation: int = 0) -> str:
    """Return the id of an event: the start of its chain of windows, and how many events have begun in the chain.

    It does not depend on the window with which the event begins, on which early and final predictions may differ.
    """
    id = f"{session}/{chain_us // 1000}-{number}"
    return f"{id}~{generation}" if generation else id


def generation_of(event_id: str) -> int:
    """Return the generation of its session that the id of an event names."""
    return parse_generation(event_id.rpartition("~")[2])


def count_provisional(events: Iterable[Event]) -> tuple[int, int]:
    """Return how many provisional events, by id and label, were published, and how many no final one confirmed.

    events: The records in the order in which they were published.
    """
    published = withdrawn = 0
    open_labels: dict[str, set[str]] = {}
    confirmed: set[tuple[str, str]] = set()
    for e in events:
        if e.lifecycle == "withdrawn":
            withdrawn += len(open_labels.pop(e.id, ()))
        elif e.final:
            confirmed.add((e.id, e.label))
        else:
            labels = open_labels.setdefault(e.id, set())
            published += e.label not in labels
            labels.add(e.label)
    left = {(id, label) for id, labels in open_labels.items() for label in labels}
    return published, withdrawn + len(left - confirmed)


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


def decode(raw: bytes | None) -> Event:
    """Decode an event record. Raises ContractError if it is invalid."""
    record = canonical.loads_object(raw or b"")
    return Event(
        text(record, "id"),
        text(record, "session"),
        text(record, "lifecycle"),
        text(record, "label"),
        text(record, "kind"),
        time_us(record, "start"),
        time_us(record, "end"),
        number(record, "confidence"),
        time_us(record, "expires"),
        flag(record, "final"),
        text(record, "prediction"),
    )
