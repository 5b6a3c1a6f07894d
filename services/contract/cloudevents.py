"""The envelope: CloudEvents 1.0 in Kafka's binary mode. Structured mode is read, never written.

Source: CloudEvents 1.0.2, Kafka protocol binding, sections 3.2 and 3.3.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass

from services.contract import canonical, media_headers, timestamps, trace_context
from services.contract.dead_letter import Reason, Rejected
from services.contract.kafka_record import Headers

SPECVERSION = "1.0"
ALIVE_TYPE = "braid.alive.v1"
SESSION_END_TYPE = "braid.session.end.v1"
STRUCTURED = "application/cloudevents+json"
# Stands in the name of a header for what is not UTF-8.
REPLACED = "\N{REPLACEMENT CHARACTER}"
_PLAIN = ("content-type", "traceparent")


def media_type(modality: str) -> str:
    """Return the ce_type of media of a modality."""
    return f"braid.media.{modality}.v1"


_TEXT_TYPE = media_type("text")


def device_source(device: str, stream: str) -> str:
    """Return the ce_source of a stream of a device."""
    return f"/devices/{device}/{stream}"


@dataclass(frozen=True, slots=True)
class Envelope:
    """The attributes and the payload of a record, from either mode; attributes are not validated yet."""

    attributes: dict[str, str]
    payload: bytes

    def get(self, name: str) -> str:
        """Return an attribute by its CloudEvents name, or `content-type` or `traceparent`; "" if it is missing."""
        return self.attributes.get(name, "")


def build_headers(
    *,
    session: str,
    source: str,
    id: str,
    type: str,
    t_us: int,
    content_type: str,
    extensions: Sequence[tuple[str, str]] = (),
) -> list[tuple[str, bytes]]:
    """Return the Kafka headers of a record; t_us is the capture time in microseconds since the epoch."""
    pairs = [
        ("ce_specversion", SPECVERSION),
        ("ce_id", id),
        ("ce_source", source),
        ("ce_type", type),
        ("ce_time", timestamps.format_us(t_us)),
        ("ce_subject", session),
        ("content-type", content_type),
        *extensions,
    ]
    return [(name, text.encode()) for name, text in pairs]


def raw_type(headers: Headers) -> bytes:
    """Return the raw ce_type of a binary-mode record, b"" if there is none."""
    return next((value for name, value in headers if name == "ce_type" and value), b"")


def parse_envelope(headers: Headers, value: bytes | None, header_bytes_max: int = 8_192) -> Envelope | Rejected:
    """Parse the attributes and the payload of a record; a null value is rejected."""
    if value is None:
        return Rejected(Reason.NULL, "the record has no value; alive records and session ends have an empty one")
    attributes: dict[str, str] = {}
    size = 0
    for name, raw in headers:
        size += len(name) + len(raw or b"")
        if name.startswith("ce_"):
            key = name[3:]
        elif name in _PLAIN:
            key = name
        elif REPLACED in name:
            return Rejected(Reason.HEADER, "the name of a header is not UTF-8")
        else:
            continue
        if key == "traceparent":
            # A producer that is instrumented twice sends two; no record is worth less for it.
            if trace_context.parse_traceparent(raw) is not None:
                attributes.setdefault(key, raw.decode())
            continue
        if raw is None or key in attributes:
            return Rejected(Reason.HEADER, f"header {name} is null or stands twice")
        try:
            attributes[key] = raw.decode()
        except UnicodeDecodeError:
            return Rejected(Reason.HEADER, f"header {name} is not UTF-8")
    if size > header_bytes_max:
        return Rejected(Reason.HEADER, f"{size} bytes of headers, at most {header_bytes_max} are read")
    declared = attributes.get("content-type", "")
    if media_headers.parse_content_type(declared)[0] == STRUCTURED:
        return _structured(value)
    return _with_content_type(attributes, declared, value)


def _with_content_type(attributes: dict[str, str], declared: str, payload: bytes) -> Envelope:
    if payload:
        is_text = attributes.get("type") == _TEXT_TYPE
        resolved = media_headers.resolve_content_type(declared, payload, is_text)
        if resolved is not declared:
            attributes["content-type"] = resolved
    return Envelope(attributes, payload)


def _structured(value: bytes) -> Envelope | Rejected:
    try:
        event = canonical.loads_lenient(value)
    except canonical.InvalidJson as error:
        return Rejected(Reason.HEADER, f"structured event: {error}")
    if not isinstance(event, dict):
        return Rejected(Reason.HEADER, "structured event: not an object")
    payload = b""
    if "data_base64" in event:
        try:
            payload = base64.b64decode(event.pop("data_base64"), validate=True)
        except (binascii.Error, TypeError, ValueError):
            return Rejected(Reason.HEADER, "structured event: data_base64 is not base64")
    elif "data" in event:
        data = event.pop("data")
        payload = data.encode() if isinstance(data, str) else canonical.dumps(data)
    attributes = {name: text for name, text in event.items() if isinstance(text, str)}
    if "datacontenttype" in attributes:
        attributes["content-type"] = attributes.pop("datacontenttype")
    return _with_content_type(attributes, attributes.get("content-type", ""), payload)
