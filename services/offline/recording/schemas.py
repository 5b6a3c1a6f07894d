"""JSON Schemas of the messages in a recording, by name; pictures and sound under Foxglove's names, with a field more.

Source: foxglove.CompressedImage and foxglove.RawAudio in JSON encoding, docs.foxglove.dev.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.contract import canonical
from services.contract.topics import Topics
from services.offline.recording.message import AUDIO, IMAGE

_BYTES = {"type": ["string", "object", "null"], "description": "UTF-8 text, or {base64} where it is none"}
_ABOUT = {
    "type": "object",
    "description": "where the record stood on the broker",
    "properties": {
        "topic": {"type": "string"},
        "partition": {"type": "integer", "minimum": 0},
        "offset": {"type": "integer", "minimum": 0},
        "timestamp_ms": {"type": "integer", "description": "the broker's append time"},
        "key": _BYTES,
        "headers": {
            "type": "array",
            "items": {"type": "array", "prefixItems": [{"type": "string"}, _BYTES], "minItems": 2, "maxItems": 2},
        },
    },
    "required": ["topic", "partition", "offset", "timestamp_ms", "key", "headers"],
}
_DATA = {"type": "string", "contentEncoding": "base64"}
_TIME = {
    "type": "object",
    "title": "time",
    "properties": {"sec": {"type": "integer", "minimum": 0}, "nsec": {"type": "integer", "minimum": 0}},
}


def _schema(title: str, properties: Mapping[str, Any], required: tuple[str, ...] = ()) -> bytes:
    return canonical.dumps(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": title,
            "type": "object",
            "properties": {**properties, "record": _ABOUT},
            "required": [*required, "record"],
        }
    )


def _ours(title: str, *fields: str) -> bytes:
    value = {"type": "object", "required": list(fields)} if fields else {"type": "object"}
    return _schema(title, {"json": value, "text": {"type": "string"}, "data": _DATA})


FOXGLOVE = {
    IMAGE: "foxglove.CompressedImage",
    AUDIO: "foxglove.RawAudio",
}
SCHEMAS: Mapping[str, bytes] = {
    "foxglove.CompressedImage": _schema(
        "foxglove.CompressedImage",
        {"timestamp": _TIME, "frame_id": {"type": "string"}, "data": _DATA, "format": {"type": "string"}},
        ("timestamp", "frame_id", "data", "format"),
    ),
    "foxglove.RawAudio": _schema(
        "foxglove.RawAudio",
        {
            "timestamp": _TIME,
            "data": _DATA,
            "format": {"type": "string"},
            "sample_rate": {"type": "integer"},
            "number_of_channels": {"type": "integer"},
        },
        ("timestamp", "data", "format", "sample_rate", "number_of_channels"),
    ),
    "braid.Record": _ours("braid.Record"),
    "braid.Window": _ours("braid.Window", "id", "session", "start_us", "end_us", "final", "config", "modalities"),
    "braid.Prediction": _ours("braid.Prediction", "id", "session", "window", "final", "label", "modalities", "model"),
    "braid.Event": _ours("braid.Event", "id", "session", "lifecycle", "label", "start", "end", "final", "prediction"),
    "braid.Late": _ours("braid.Late", "session", "modality", "source", "id", "at", "missed_us"),
    "braid.DeadLetter": _ours("braid.DeadLetter", "reason", "stage", "topic", "partition", "offset"),
}


def schema_name(topic: str, form: str, topics: Topics) -> str:
    """The schema of a message of this form from this topic. A stranger's record in our topic may not satisfy it."""
    ours = {
        topics.windows: "braid.Window",
        topics.predictions: "braid.Prediction",
        topics.events: "braid.Event",
        topics.late: "braid.Late",
        topics.dead: "braid.DeadLetter",
    }
    return FOXGLOVE.get(form) or ours.get(topic, "braid.Record")
