"""The outline of a sound: how loud it is at each moment, small enough to send along. Pure.

What devices send, as the page and the API tell it: chunks with their outline, ends, and told silences. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from urllib.parse import urlencode

import numpy as np

from services.contract import canonical, cloudevents, media, tick, timestamps
from services.contract.chunk import EMPTY_SHA256
from services.contract.cloudevents import Envelope
from services.contract.media import Sound
from services.contract.record import KafkaRecord
from services.contract.tick import Tick
from services.gateway.messages import InvalidRecord, Json, PageMessage, make_message, session_of

PER_SECOND = 40
PEAKS_MAX = 1_200


def peaks(sound: Sound, body: bytes) -> list[int] | None:
    """The loudest sample (0-255) of each 25 ms of PCM or WAV; None for sounds that must be decoded first."""
    if sound.pcm is None:
        return None
    begin, end = sound.pcm
    samples = np.abs(np.frombuffer(body[begin:end], "<i2").astype(np.int32))
    if not samples.size:
        return []
    step = max(sound.rate * sound.channels // PER_SECOND, 1)
    starts = np.arange(0, samples.size, step)[:PEAKS_MAX]
    loudest: list[int] = (np.maximum.reduceat(samples, starts) >> 7).clip(0, 255).tolist()
    return loudest


TEXT_MAX = 280


def media_path(session: str, modality: str, at: list[int], t_us: int, sha256: str) -> str:
    """Where a member's bytes are served, relative to the page."""
    query = urlencode({"session": session, "t_us": t_us, "sha256": sha256})
    return f"api/v1/media/{modality}/{at[0]}/{at[1]}?{query}"


def media_messages(modality: str, record: KafkaRecord, ours: bool = True) -> Iterator[PageMessage]:
    """A chunk, an end, or the silences that a tick tells; ours: False for a tick that a stranger wrote. Raises NotTold."""
    if record.key is None:
        if not ours:
            raise InvalidRecord("a tick that no tick_secret signed for this place")
        yield from _ticks(modality, record)
        return
    session, read = session_of(record.key), cloudevents.unwrap(record.headers, record.value)
    if not isinstance(read, Envelope):
        raise InvalidRecord(read.detail)
    t_us = timestamps.parse(read.get("time"))
    if t_us is None:
        raise InvalidRecord("no event time")
    if read.get("type") == cloudevents.SESSION_END_TYPE:
        told = {"modality": modality, "source": read.get("source"), "t_us": t_us}
        facts = {"source": (modality, told["source"]), "arrived_us": record.timestamp * 1000}
        yield make_message("end", session, f"{modality} {read.get('source')}", t_us, t_us, told, facts=facts)
        return
    yield _chunk(session, modality, t_us, read, record)


def _chunk(session: str, modality: str, t_us: int, read: Envelope, record: KafkaRecord) -> PageMessage:
    body, content_type = read.payload, read.get("content-type")
    kind = content_type.partition(";")[0].strip().lower()
    sha256, at = hashlib.sha256(body).hexdigest(), [record.partition, record.offset]
    told: Json = {
        "modality": modality,
        "source": read.get("source"),
        "id": read.get("id"),
        "t_us": t_us,
        "duration_us": 0,
        "arrived_us": record.timestamp * 1000,
        "at": at,
        "bytes": len(body),
        "content_type": content_type,
    }
    if sha256 == EMPTY_SHA256:
        told["alive"] = True
    else:
        told["media"] = media_path(session, modality, at, t_us, sha256)
    if modality == "audio" and kind in media.AUDIO_TYPES and body:
        length = media.measure(content_type, body)
        if isinstance(length, Sound):
            told["duration_us"] = length.duration_us
            told["peaks"] = peaks(length, body)
    elif modality == "text" and body:
        told["text"] = _text(kind, body)
    facts = {
        "source": (modality, told["source"]),
        "identity": (modality, told["source"], told["id"], t_us, told["duration_us"]),
        "arrived_us": told["arrived_us"],
        "sha256": sha256,
        "corrected_us": t_us - (timestamps.parse(read.get("recordedtime")) or t_us),
    }
    key, to_us = f"{modality} {at[0]} {at[1]}", t_us + told["duration_us"]
    return make_message("chunk", session, key, t_us, to_us, told, facts=facts)


def _text(kind: str, body: bytes) -> str:
    text = body.decode(errors="replace")
    if kind == "application/json":
        try:
            text = str(canonical.loads_object(body).get("text", ""))
        except canonical.InvalidJson:
            text = ""
    return text[:TEXT_MAX]


def _ticks(modality: str, record: KafkaRecord) -> Iterator[PageMessage]:
    read = tick.decode(record.value or b"")
    if not isinstance(read, Tick):
        raise InvalidRecord(read.detail)
    for session, bound_us in read.bounds.items():
        told = {"modality": modality, "bound_us": bound_us, "evidence": read.evidence}
        yield make_message("tick", session, f"{modality} {bound_us}", bound_us, bound_us, told)
