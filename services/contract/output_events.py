"""The CloudEvents attributes of Braid's outputs, as headers in Kafka's binary mode. Values stay plain JSON.

Every attribute follows from the record, so a record that is published again after a crash has the same bytes. `ce_time` is
event time: the start of what the record is about. Source: CloudEvents 1.0.2, Kafka protocol binding, section 3.2.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from services.contract import timestamps

ALIGNER_SOURCE, FUSION_SOURCE = "/braid/aligner", "/braid/fusion"
OutputKind = Literal["window", "prediction", "event", "late", "dead"]
Header = tuple[str, bytes]


def schema_id(name: str) -> str:
    """Return the `$id` of the JSON Schema of a record."""
    return f"urn:braid:schema:{name}:v1"


def event_type(kind: OutputKind) -> str:
    """Return the ce_type of an output."""
    return f"braid.{kind}.v1"


@lru_cache(4_096)
def time_header(t_us: int) -> Header:
    """Return the ce_time of an event time; windows of many sessions begin at the same times."""
    second, us = divmod(t_us, 1_000_000)
    return "ce_time", b"%b.%06dZ" % (_second(second), us)


@lru_cache(1_024)
def _second(second: int) -> bytes:
    return timestamps.format_us(second * 1_000_000)[:19].encode()


class OutputHeaders:
    """Builds the headers of one kind of output.

    Args:
        kind: What the records are; part of their type and of the id of their schema.
        source: The service that publishes them.
    """

    def __init__(self, kind: OutputKind, source: str) -> None:
        self._constant: list[Header] = [
            ("ce_specversion", b"1.0"),
            ("ce_type", event_type(kind).encode()),
            ("ce_source", source.encode()),
            ("ce_dataschema", schema_id(kind).encode()),
            ("content-type", b"application/json"),
        ]

    def build(self, id: str, session: bytes | None, t_us: int | None) -> list[Header]:
        """Return the headers of one record; an unknown session or time has no header.

        Args:
            id: Unique among the records of this kind and source; the same when the record is published again.
            session: The session, which is the key of the record.
            t_us: Event time (us).
        """
        headers = [*self._constant, ("ce_id", id.encode())]
        if session is not None:
            headers.append(("ce_subject", session))
        if t_us is not None:
            headers.append(time_header(t_us))
        return headers
