"""Render a record of any topic for people: as JSON, as one line, and its media as a file."""

from __future__ import annotations

import re
from typing import Any

from services.contract import canonical, cloudevents, media, timestamps
from services.contract.cloudevents import Envelope
from services.contract.media import AudioInfo, wav_from_pcm
from services.contract.record import KafkaRecord

TEXT_MAX = 200
ENDINGS = {
    media.JPEG: "jpg",
    media.PNG: "png",
    media.WEBP: "webp",
    media.WAV: "wav",
    media.FLAC: "flac",
    media.OGG: "ogg",
    "text/plain": "txt",
    "application/json": "json",
}


def readable(kept: KafkaRecord) -> dict[str, Any]:
    """Return a record's position, headers and value: JSON as it is, text shortened, media described."""
    return {
        "topic": kept.topic,
        "partition": kept.partition,
        "offset": kept.offset,
        "appended": timestamps.format_us(kept.timestamp * 1000) if kept.timestamp >= 0 else None,
        "key": None if kept.key is None else kept.key.decode(errors="replace"),
        "headers": {name: None if raw is None else raw.decode(errors="replace") for name, raw in kept.headers},
        "bytes": None if kept.value is None else len(kept.value),
        **_value(kept),
    }


def readable_line(record: dict[str, Any]) -> str:
    """Return a readable record in one line; characters that cannot be printed are replaced."""
    place = f"{record['partition']}/{record['offset']}"
    headers = record["headers"]
    kind = headers.get("ce_type") or headers.get("content-type") or ""
    source = f"  {headers['ce_source']}#{headers.get('ce_id')}" if headers.get("ce_source") else ""
    captured = f"  captured {headers['ce_time']}" if headers.get("ce_time") else ""
    if "json" in record:
        value = canonical.dumps(record["json"]).decode()
    else:
        value = " ".join(
            f"{name} {record[name]}" for name in ("text", "picture", "sound", "unreadable") if name in record
        )
    text = f"{place}  {record['appended']}  {record['key']}  {kind}{source}{captured}  {value or 'empty'}"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def media_file(kept: KafkaRecord) -> tuple[str, bytes] | None:
    """Return a file name and the bytes for it, None for a record without media; no part of the name is user input."""
    read = cloudevents.parse_envelope(kept.headers, kept.value)
    if not isinstance(read, Envelope) or not read.payload or kept.key is None:
        return None
    kind = read.get("content-type").partition(";")[0].strip().lower()
    body = wav_from_pcm(read.get("content-type"), read.payload) if kind == media.PCM else None
    ending = "wav" if body is not None else ENDINGS.get(kind, "bin")
    topic = re.sub(r"[^a-zA-Z0-9._-]", "_", kept.topic)
    return f"{topic}-{kept.partition}-{kept.offset}.{ending}", body or read.payload


def _value(kept: KafkaRecord) -> dict[str, Any]:
    read = cloudevents.parse_envelope(kept.headers, kept.value)
    if kept.value is None:
        return {"unreadable": "null"}
    if not isinstance(read, Envelope):
        return {"unreadable": read.reason.value}
    kind = read.get("content-type").partition(";")[0].strip().lower()
    if not read.payload:
        return {}
    if kind in media.IMAGE_TYPES:
        size = media.image_size(kind, read.payload)
        return {"picture": f"{size[0]}x{size[1]}" if size else "unreadable"}
    if kind in media.AUDIO_TYPES:
        length = media.measure_audio(read.get("content-type"), read.payload)
        return {"sound": f"{length.duration_us / 1000:g} ms" if isinstance(length, AudioInfo) else "unreadable"}
    try:
        return {"json": canonical.loads_object(read.payload)}
    except canonical.InvalidJson:
        return {"text": read.payload.decode(errors="replace")[:TEXT_MAX]}
