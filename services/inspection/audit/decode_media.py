"""Decode a media record for the oracle, with the contract alone and not with the aligner's admission."""

from __future__ import annotations

import hashlib

from services.contract import cloudevents, media_headers, session_reset, tick, timestamps
from services.contract.admission import declared_duration_us
from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import Chunk
from services.contract.cloudevents import Envelope
from services.contract.dead_letter import Rejected
from services.contract.kafka_record import LogRecord
from services.contract.media_headers import AudioInfo
from services.contract.session_reset import SessionReset
from services.contract.tick import Tick


def decode_media_record(
    raw: LogRecord, modality: str, partition: int, config: AlignmentConfig
) -> Chunk | Tick | SessionReset | None:
    """Return the content of a record that was not rejected; None for a session end and for an invalid record."""
    if raw.key is None:
        is_reset = cloudevents.raw_type(raw.headers) == session_reset.RESET_TYPE.encode()
        found = session_reset.decode(raw.value or b"") if is_reset else tick.decode(raw.value or b"")
        return None if isinstance(found, Rejected) else found
    e = cloudevents.parse_envelope(raw.headers, raw.value)
    if not isinstance(e, Envelope) or e.get("type") == cloudevents.SESSION_END_TYPE:
        return None
    appended_us = raw.timestamp * 1000
    t_us = appended_us if config.uses_append_time(e.get("source")) else timestamps.parse(e.get("time"))
    if t_us is None:
        return None
    if modality == "audio" and e.payload:
        length = media_headers.measure_audio(e.get("content-type"), e.payload)
        if not isinstance(length, AudioInfo):
            return None
        duration_us = length.duration_us
    else:
        declared_us = declared_duration_us(e.attributes)
        if isinstance(declared_us, Rejected):
            return None
        duration_us = declared_us
    return Chunk(
        raw.key.decode(errors="replace"),
        modality,
        e.get("source"),
        e.get("id"),
        t_us,
        duration_us,
        hashlib.sha256(e.payload).hexdigest(),
        partition,
        raw.offset,
        appended_us,
        len(e.payload),
        media_headers.decode_pixels(e.payload) if modality == "video" else 0,
    )
