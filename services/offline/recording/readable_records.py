"""Render a record of any topic for people: as JSON, as one line, and its media as a file."""

from __future__ import annotations

import re
from typing import Any

from services.contract import canonical, cloudevents, dead_letter, media_headers, timestamps
from services.contract.cloudevents import Envelope
from services.contract.kafka_record import KafkaRecord
from services.contract.media_headers import AudioInfo, wav_from_pcm

TEXT_MAX = 200
ENDINGS = {
    media_headers.JPEG: "jpg",
    media_headers.PNG: "png",
    media_headers.WEBP: "webp",
    media_headers.WAV: "wav",
    media_headers.FLAC: "flac",
    media_headers.OGG: "ogg",
    "text/plain": "txt",
    "application/json": "json",
}


def readable(record: KafkaRecord, *, forged: bool = False) -> dict[str, Any]:
    """Return a record's position, headers and value: JSON as it is, text shortened, media described.

    forged: Mark it as a record that only a service may write, and none has.
    """
    return {
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "appended": timestamps.format_us(record.timestamp * 1000) if record.timestamp >= 0 else None,
        "key": None if record.key is None else record.key.decode(errors="replace"),
        "headers": {name: None if raw is None else raw.decode(errors="replace") for name, raw in record.headers},
        "bytes": None if record.value is None else len(record.value),
        **_value(record),
        **({"forged": True} if forged else {}),
    }


def readable_line(record: dict[str, Any]) -> str:
    """Return a readable record in one line; characters that cannot be printed are replaced."""
    place = f"{record['partition']}/{record['offset']}"
    headers = record["headers"]
    kind = headers.get("ce_type") or headers.get("content-type") or ""
    source = f"  {headers['ce_source']}#{headers.get('ce_id')}" if headers.get("ce_source") else ""
    captured = f"  captured {headers['ce_time']}" if headers.get("ce_time") else ""
    if "rejected" in record:
        letter = record["rejected"]
        value = f"{letter['reason']}: {letter['detail']} ({letter['topic']} {letter['partition']}/{letter['offset']})"
    elif "json" in record:
        value = canonical.dumps(record["json"]).decode()
    else:
        value = " ".join(
            f"{name} {record[name]}" for name in ("text", "picture", "sound", "unreadable") if name in record
        )
    mark = "FORGED  " if record.get("forged") else ""
    text = f"{mark}{place}  {record['appended']}  {record['key']}  {kind}{source}{captured}  {value or 'empty'}"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def media_file(record: KafkaRecord) -> tuple[str, bytes] | None:
    """Return a file name and the bytes for it, None for a record without media; no part of the name is user input."""
    envelope = cloudevents.parse_envelope(record.headers, record.value)
    if not isinstance(envelope, Envelope) or not envelope.payload or record.key is None:
        return None
    kind = envelope.get("content-type").partition(";")[0].strip().lower()
    body = wav_from_pcm(envelope.get("content-type"), envelope.payload) if kind == media_headers.PCM else None
    ending = "wav" if body is not None else ENDINGS.get(kind, "bin")
    topic = re.sub(r"[^a-zA-Z0-9._-]", "_", record.topic)
    return f"{topic}-{record.partition}-{record.offset}.{ending}", body or envelope.payload


def _value(record: KafkaRecord) -> dict[str, Any]:
    if any(name == dead_letter.REASON_HEADER for name, _ in record.headers):
        # The other headers are those of the rejected record: they say nothing about this value.
        try:
            return {"rejected": dead_letter.decode(record.value)}
        except ValueError:
            return {"unreadable": "not a dead letter"}
    envelope = cloudevents.parse_envelope(record.headers, record.value)
    if record.value is None:
        return {"unreadable": "null"}
    if not isinstance(envelope, Envelope):
        return {"unreadable": envelope.reason.value}
    kind = envelope.get("content-type").partition(";")[0].strip().lower()
    if not envelope.payload:
        return {}
    if kind in media_headers.IMAGE_TYPES:
        size = media_headers.image_size(kind, envelope.payload)
        return {"picture": f"{size[0]}x{size[1]}" if size else "unreadable"}
    if kind in media_headers.AUDIO_TYPES:
        length = media_headers.measure_audio(envelope.get("content-type"), envelope.payload)
        return {"sound": f"{length.duration_us / 1000:g} ms" if isinstance(length, AudioInfo) else "unreadable"}
    try:
        return {"json": canonical.loads_object(envelope.payload)}
    except canonical.InvalidJson:
        return {"text": envelope.payload.decode(errors="replace")[:TEXT_MAX]}
