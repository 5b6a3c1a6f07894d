"""Admission: judges one record of a media topic.

A function of the record alone (bytes, headers, partition and append time) and of the alignment settings. The aligner and
the HTTP API both use it, so that HTTP accepts only what the aligner admits. Checks are cheap: a payload that passes may
still fail to decode in fusion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

from services.contract import cloudevents, media_headers, session_reset, tick, timestamps
from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import EMPTY_SHA256, Chunk, SessionEnd
from services.contract.cloudevents import Envelope
from services.contract.dead_letter import Reason, Rejected
from services.contract.kafka_record import Headers
from services.contract.partitioner import partition_of
from services.contract.session_reset import SessionReset
from services.contract.tick import Tick
from services.contract.transcript import TEXT, TEXT_TYPES, read_transcript

VIDEO = "video"
CLOCK_REMEDY = "`devices: {<source>: {clock: arrival}}` in braid.yaml"
_TICK, _RESET = tick.TICK_TYPE.encode(), session_reset.RESET_TYPE.encode()


class AdmittedChunk(NamedTuple):
    """A chunk with its payload and content type."""

    chunk: Chunk
    content_type: str
    payload: bytes


Admitted = AdmittedChunk | Tick | SessionEnd | SessionReset


def admit(
    modality: str,
    partition: int,
    offset: int,
    appended_us: int,
    key: bytes | None,
    headers: Headers,
    value: bytes | None,
    config: AlignmentConfig,
    partition_count: int,
) -> Admitted | Rejected:
    """Judge one record of a modality's media topic.

    Args:
        modality: The modality of the topic.
        partition: The partition that holds the record.
        offset: The record's offset.
        appended_us: The broker's append time (us).
        key: The session, as UTF-8; None for an idle record and a reset.
        headers: The record's headers.
        value: The payload.
        config: The alignment settings.
        partition_count: The partitions of the topic; 1 for a record that has no partition yet.
    """
    limits = config.admission
    if value is not None and len(value) > limits.payload_bytes_max:
        return Rejected(Reason.SIZE, f"{len(value)} bytes, at most {limits.payload_bytes_max} are taken")
    if key is None:
        raw_type = cloudevents.raw_type(headers)
        if value is not None and raw_type in (_TICK, _RESET):
            return tick.decode(value) if raw_type == _TICK else session_reset.decode(value)
        return Rejected(Reason.KEY, "the record has no key: the session id is needed there")
    envelope = cloudevents.parse_envelope(headers, value, limits.header_bytes_max)
    if isinstance(envelope, Rejected):
        return envelope
    session = session_of(key, envelope, limits.session_bytes_max)
    if isinstance(session, Rejected):
        return session
    if modality not in config.modalities_of(session):
        return Rejected(Reason.UNDECLARED, f"the settings say that this session has no {modality}")
    if partition_of(key, partition_count) != partition:
        return Rejected(
            Reason.PARTITION, "another partition than murmur2 of the key; librdkafka: partitioner=murmur2_random"
        )
    source, id, kind = envelope.get("source"), envelope.get("id"), envelope.get("type")
    if envelope.get("specversion") != cloudevents.SPECVERSION:
        return Rejected(Reason.VERSION, "ce_specversion must be 1.0")
    if not source or not id or max(len(source), len(id)) > limits.name_bytes_max:
        return Rejected(Reason.SOURCE, f"ce_source and ce_id: 1 to {limits.name_bytes_max} characters each")
    if kind == cloudevents.SESSION_END_TYPE:
        return SessionEnd(session, source)
    if kind not in (cloudevents.media_type(modality), cloudevents.ALIVE_TYPE):
        return Rejected(
            Reason.TYPE, f"ce_type must be {cloudevents.media_type(modality)} or {cloudevents.ALIVE_TYPE} here"
        )
    by_append_time = config.uses_append_time(source)
    t_us = appended_us if by_append_time else timestamps.parse(envelope.get("time"))
    if t_us is None:
        return Rejected(Reason.TIME, "ce_time is missing or not an RFC 3339 time stamp")
    if kind == cloudevents.ALIVE_TYPE:
        duration_us = _alive_duration_us(envelope)
    elif not envelope.payload:
        return Rejected(Reason.EMPTY, "media without bytes; to say only that a source is there, use braid.alive.v1")
    else:
        duration_us = payload_check(modality, envelope.attributes, config)(envelope.payload)
    if isinstance(duration_us, Rejected):
        return duration_us
    if not 0 <= duration_us <= config.max_duration_us:
        return Rejected(Reason.DURATION, f"{duration_us} us; 0 to {config.max_duration_us} are taken")
    if t_us + duration_us > appended_us + config.future_us and not by_append_time:
        ahead_s = (t_us + duration_us - appended_us) / 1e6
        return Rejected(
            Reason.FUTURE,
            f"ends {ahead_s:.1f} s after it arrived: set the clock of this source, or {CLOCK_REMEDY}",
            (source, appended_us - t_us - duration_us),
        )
    if t_us < appended_us - config.stale_after_us:
        return Rejected(Reason.STALE, f"captured {(appended_us - t_us) // 1000} ms before it arrived")
    sha256 = hashlib.sha256(envelope.payload).hexdigest() if envelope.payload else EMPTY_SHA256
    payload = envelope.payload
    pixels = media_headers.decode_pixels(payload) if modality == VIDEO else 0
    chunk = Chunk(
        session, modality, source, id, t_us, duration_us, sha256, partition, offset, appended_us, len(payload), pixels
    )
    return AdmittedChunk(chunk, envelope.get("content-type"), envelope.payload)


def session_of(key: bytes, envelope: Envelope, bytes_max: int) -> str | Rejected:
    """Return the session that a record's key names, or why it names none."""
    if not 1 <= len(key) <= bytes_max:
        return Rejected(Reason.SESSION, f"a session id of {len(key)} bytes; 1 to {bytes_max} are taken")
    try:
        session = key.decode()
    except UnicodeDecodeError:
        return Rejected(Reason.SESSION, "the session id is not UTF-8")
    if not session.isprintable():
        return Rejected(Reason.SESSION, "the session id has characters that cannot be printed")
    if envelope.get("subject") not in ("", session):
        return Rejected(Reason.SESSION, "ce_subject is another session than the key")
    return session


def _alive_duration_us(envelope: Envelope) -> int | Rejected:
    if envelope.payload:
        return Rejected(Reason.TYPE, "an alive record has no bytes")
    return declared_duration_us(envelope.attributes)


def payload_check(
    modality: str, attributes: Mapping[str, str], config: AlignmentConfig
) -> Callable[[bytes], int | Rejected]:
    """Return a function that checks a payload with these attributes and returns its duration (us)."""
    content_type, limits = attributes.get("content-type", ""), config.admission
    kind, _ = media_headers.parse_content_type(content_type)
    if not kind:
        return _reject(Rejected(Reason.CONTENT_TYPE, f"content-type is missing and the bytes are no {modality} known"))
    if modality == "audio" and kind in media_headers.AUDIO_TYPES:
        return media_headers.timer(content_type)
    declared_us = declared_duration_us(attributes)
    if modality == "video" and kind in media_headers.IMAGE_TYPES:
        return lambda payload: _check_image(kind, payload, limits.pixels_max) or declared_us
    if modality == "text" and kind in TEXT_TYPES:
        return lambda payload: _check_text(kind, payload, limits.text_bytes_max) or declared_us
    if modality not in ("text", "video", "audio"):
        return lambda _: declared_us
    return _reject(Rejected(Reason.CONTENT_TYPE, f"this content type is not taken as {modality}"))


def _reject(rejected: Rejected) -> Callable[[bytes], Rejected]:
    return lambda _: rejected


def _check_image(kind: str, payload: bytes, pixels_max: int) -> Rejected | None:
    size = media_headers.image_size(kind, payload)
    if size is None:
        return Rejected(Reason.MAGIC, f"the bytes are not {kind}")
    if size[0] * size[1] > pixels_max:
        return Rejected(Reason.PIXELS, f"{size[0]} x {size[1]}, at most {pixels_max} pixels")
    return None


def _check_text(kind: str, payload: bytes, bytes_max: int) -> Rejected | None:
    if kind == TEXT and payload.isascii() and len(payload) <= bytes_max:
        return None
    text = read_transcript(kind, payload)
    if isinstance(text, Rejected):
        return text
    # The JSON around a text may be long: speech-to-text programs add each word with its time.
    size = len(text.encode())
    return Rejected(Reason.TEXT, f"{size} bytes of text, at most {bytes_max} are taken") if size > bytes_max else None


def declared_duration_us(attributes: Mapping[str, str]) -> int | Rejected:
    """Parse `ce_duration` (whole or decimal milliseconds); 0 if it is missing."""
    text = attributes.get("duration")
    if not text:
        return 0
    whole, _, fraction = text.removeprefix("-").partition(".")
    # str.isdigit is true for digits that int refuses, such as superscripts.
    if not (text.isascii() and whole.isdigit() and len(whole) <= 12) or (fraction and not fraction.isdigit()):
        return Rejected(Reason.DURATION, "ce_duration is not a number of milliseconds")
    duration_us = int(whole) * 1000 + int((fraction or "0").ljust(3, "0")[:3])
    return -duration_us if text.startswith("-") else duration_us
