"""What the services say, as the page and the API tell it: one small JSON for each record. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.contract import canonical, timestamps, trace_context
from services.contract.event import event_id
from services.contract.prediction import LATENCY_HEADER, STATE_HEADER, TRACE_HEADER
from services.contract.record import KafkaRecord

KINDS = ("chunk", "window", "prediction", "event", "late", "dead", "tick", "end")
Json = dict[str, Any]


class InvalidRecord(ValueError):
    """A record that is none of the contract; the message says why and never quotes the content."""


@dataclass(frozen=True, slots=True)
class PageMessage:
    """One thing that happened in a session, as JSON bytes; key names it within its kind.

    from_us, to_us: the event time that it is about. full: the whole record where `raw` is a part of it. facts: what a
    session's summary needs of it.
    """

    kind: str
    session: str
    key: str
    from_us: int
    to_us: int
    raw: bytes
    full: bytes | None = None
    facts: Mapping[str, Any] | None = None

    @property
    def size_bytes(self) -> int:
        return len(self.raw) + len(self.full or b"")


def window_message(record: KafkaRecord) -> PageMessage:
    """A window's mask; `full` is the record. Raises NotTold."""
    read = _object(record.value)
    try:
        lanes = {
            name: {"state": lane["state"], "evidence": lane["evidence"], "count": len(lane["members"])}
            for name, lane in read["modalities"].items()
        }
        told = {"id": read["id"], "start_us": read["start_us"], "end_us": read["end_us"], "final": read["final"]}
        return make_message(
            "window",
            read["session"],
            read["id"],
            read["start_us"],
            read["end_us"],
            {**told, "modalities": lanes},
            full=record.value,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidRecord(f"no window ({type(error).__name__})") from None


def prediction_message(record: KafkaRecord) -> PageMessage:
    """A prediction with the latency and the event that its headers carry; `full` has its inputs too. Raises NotTold."""
    read, headers = _object(record.value), dict(record.headers)
    try:
        session, span = read["session"], read["window"]
        whole = {
            **read,
            "predicted_us": record.timestamp * 1000,
            "latency": _header(headers, LATENCY_HEADER),
            "event": _event_of(session, _header(headers, STATE_HEADER)),
            "trace_id": trace_context.read(headers.get(TRACE_HEADER)),
        }
        told = {name: value for name, value in whole.items() if name not in ("inputs", "session")}
        facts = {
            "label": read["label"],
            "confidence": read["confidence"],
            "final": read["final"],
            "abstained": read["abstained"],
            "states": {name: sense["state"] for name, sense in read["modalities"].items()},
            "id": read["id"],
        }
        full = canonical.dumps(whole)
        return make_message("prediction", session, read["id"], span["start"], span["end"], told, full=full, facts=facts)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InvalidRecord(f"no prediction ({type(error).__name__})") from None


def event_message(record: KafkaRecord) -> PageMessage:
    """A step of an event. Raises NotTold."""
    read = _object(record.value)
    try:
        key = f"{read['id']} {read['lifecycle']} {read['label']} {read['final']}"
        facts = {name: read[name] for name in ("id", "lifecycle", "label", "kind", "confidence", "final", "prediction")}
        told = {**read, "said_us": record.timestamp * 1000}
        return make_message("event", read["session"], key, read["start"], read["end"], told, facts=facts)
    except (KeyError, TypeError) as error:
        raise InvalidRecord(f"no event ({type(error).__name__})") from None


def late_message(record: KafkaRecord) -> PageMessage:
    """A chunk that came too late. Raises NotTold."""
    read = _object(record.value)
    try:
        names = ("modality", "source", "id", "t_us", "duration_us", "at", "behind_us")
        told = {name: read[name] for name in names}
        key = f"{read['modality']} {read['at'][0]} {read['at'][1]}"
        facts = {"source": (read["modality"], read["source"])}
        return make_message(
            "late", read["session"], key, read["t_us"], read["t_us"] + read["duration_us"], told, facts=facts
        )
    except (KeyError, TypeError, IndexError) as error:
        raise InvalidRecord(f"no late record ({type(error).__name__})") from None


def dead_letter_message(record: KafkaRecord, modality_of: Mapping[str, str]) -> PageMessage:
    """A refused record with its reason; modality_of: by topic name. Raises NotTold."""
    if record.key is None:
        raise InvalidRecord("it belongs to no session")
    session, read = session_of(record.key), _object(record.value)
    stated = dict(record.headers).get("ce_time", b"").decode(errors="replace")
    t_us = timestamps.parse(stated)
    try:
        told = {
            "reason": read["reason"],
            "detail": read["detail"],
            "stage": read["stage"],
            "modality": modality_of.get(read["topic"]),
            "at": [read["partition"], read["offset"]],
            "t_us": record.timestamp * 1000 if t_us is None else t_us,
        }
        key = f"{read['topic']} {read['partition']} {read['offset']}"
    except (KeyError, TypeError) as error:
        raise InvalidRecord(f"no dead letter ({type(error).__name__})") from None
    # By the broker's clock: what was refused for its own clock must still be found among what is new.
    return make_message("dead", session, key, record.timestamp * 1000, record.timestamp * 1000, told)


def make_message(
    kind: str,
    session: str,
    key: str,
    from_us: int,
    to_us: int,
    told: Json,
    full: bytes | None = None,
    facts: Mapping[str, Any] | None = None,
) -> PageMessage:
    """A told record. Raises NotTold where a time or the session is of another form."""
    if type(from_us) is not int or type(to_us) is not int or not isinstance(session, str):
        raise InvalidRecord("a time or the session is of another form")
    raw = canonical.dumps({"kind": kind, "session": session, **told})
    return PageMessage(kind, session, key, from_us, to_us, raw, full, facts)


def session_of(key: bytes) -> str:
    """The session of a record's key. Raises NotTold."""
    try:
        return key.decode()
    except UnicodeDecodeError:
        raise InvalidRecord("the session is not UTF-8") from None


def _object(value: bytes | None) -> Json:
    try:
        return canonical.loads_object(value or b"")
    except canonical.InvalidJson as error:
        raise InvalidRecord(str(error)) from None


def _header(headers: Mapping[str, bytes], name: str) -> Json | None:
    try:
        return canonical.loads_object(headers[name]) if name in headers else None
    except canonical.InvalidJson:
        return None


def _event_of(session: str, state: Json | None) -> Json | None:
    """The event that goes on after a final prediction, from the state that it carries."""
    if state is None or state.get("open") is None:
        return None
    first_us, label, start_us, end_us, *_ = state["open"]
    return {"id": event_id(session, first_us), "label": label, "start": start_us, "end": end_us}
