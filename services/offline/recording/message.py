"""A record as the JSON message of a recording: as readable as possible, and decoded to the very same bytes."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.contract import canonical, cloudevents, media_headers, timestamps
from services.contract.cloudevents import Envelope
from services.contract.kafka_record import KafkaRecord
from services.contract.media_headers import AudioInfo

RECORD, IMAGE, AUDIO = "record", "image", "sound"
_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


class NotKept(ValueError):
    """A message that is no record of ours; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class RecordingMessage:
    """A message's form and bytes, and the capture time (us) of its record; None if it has none."""

    form: str
    data: bytes
    t_us: int | None


def encode(record: KafkaRecord) -> RecordingMessage:
    """Encode a record: an image or PCM audio in Foxglove's form, anything else in Braid's own.

    `record` has the position and headers. The value is under `data` (base64), `text`, or `json` (only if its canonical
    bytes are the value's own); a null value is under none of them.
    """
    position: dict[str, Any] = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp_ms": record.timestamp,
        "key": _readable(record.key),
        "headers": [[name, _readable(raw)] for name, raw in record.headers],
    }
    read = cloudevents.parse_envelope(record.headers, record.value)
    # In structured mode the media is inside the value; only in binary mode the value is the media itself.
    plain = isinstance(read, Envelope) and read.payload is record.value
    t_us = timestamps.parse(read.get("time")) if isinstance(read, Envelope) else None
    if isinstance(read, Envelope) and plain and record.value:
        shown = _media(read, record.value)
        if shown is not None:
            form, fields = shown
            at_us = record.timestamp * 1000 if t_us is None else t_us
            stamp = {"sec": max(at_us, 0) // 1_000_000, "nsec": max(at_us, 0) % 1_000_000 * 1000}
            return RecordingMessage(
                form, _bytes({"timestamp": stamp, **fields, "data": _base64(record.value), "record": position}), t_us
            )
    return RecordingMessage(RECORD, _bytes({"record": position, **_value(record.value)}), t_us)


def decode(raw: bytes) -> KafkaRecord:
    """The record of a message. Raises NotKept."""
    try:
        message: Mapping[str, Any] = json.loads(raw)
        position = message["record"]
        value: bytes | None = None
        if "data" in message:
            value = base64.b64decode(message["data"], validate=True)
        elif "text" in message:
            value = message["text"].encode()
        elif "json" in message:
            value = canonical.dumps(message["json"])
        topic, partition, offset, timestamp = (position[n] for n in ("topic", "partition", "offset", "timestamp_ms"))
        if not isinstance(topic, str) or not all(type(n) is int for n in (partition, offset, timestamp)):
            raise NotKept("topic, partition, offset or append time is of another type")
        # A header may be null on the broker; admission rejects it, so it must be decoded as it was.
        headers: list[tuple[str, Any]] = [(str(name), _raw(text)) for name, text in position["headers"]]
        return KafkaRecord(topic, partition, offset, timestamp, _raw(position["key"]), headers, value)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, binascii.Error) as error:
        raise NotKept(f"no record of Braid in it ({type(error).__name__})") from None


def _media(read: Envelope, value: bytes) -> tuple[str, dict[str, Any]] | None:
    kind = read.get("content-type").partition(";")[0].strip().lower()
    if kind in media_headers.IMAGE_TYPES:
        return IMAGE, {"frame_id": read.get("source"), "format": kind.removeprefix("image/")}
    if kind == media_headers.PCM:
        measured = media_headers.measure_audio(read.get("content-type"), value)
        if isinstance(measured, AudioInfo):
            return AUDIO, {
                "format": "pcm-s16",
                "sample_rate": measured.rate,
                "number_of_channels": measured.channels,
            }
    return None


def _value(value: bytes | None) -> dict[str, Any]:
    if value is None:
        return {}
    try:
        found = canonical.loads_object(value)
        if canonical.dumps(found) == value:
            return {"json": found}
    except (ValueError, RecursionError):
        pass  # not JSON, or JSON that has other canonical bytes
    try:
        return {"text": value.decode()}
    except UnicodeDecodeError:
        return {"data": _base64(value)}


def _readable(raw: bytes | None) -> Any:
    if raw is None:
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": _base64(raw)}


def _raw(message: Any) -> bytes | None:
    if message is None:
        return None
    if isinstance(message, str):
        return message.encode()
    return base64.b64decode(message["base64"], validate=True)


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(message: dict[str, Any]) -> bytes:
    return _encode(message).encode()
