"""Admission of a log with a cache of its streams.

Nearly all headers of a record are the same for every record of its stream. Of a stream that is remembered, only what
differs is judged here; any other record, and each one to reject, is judged by `admit`. The result is the same
(tests/property/test_cached_admission.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

from services.contract import cloudevents, timestamps
from services.contract.admission import VIDEO, Admitted, AdmittedChunk, admit, payload_check
from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import Chunk
from services.contract.cloudevents import Envelope
from services.contract.dead_letter import Rejected, UnreadableRecord
from services.contract.kafka_record import Headers, LogRecord
from services.contract.media_headers import decode_pixels

STREAMS_MAX = 50_000
# Of one session and modality; they are searched one by one.
SOURCES_MAX = 32
# Further sources of a session are remembered with their second record.
REMEMBERED_AT_ONCE = 4
# What differs between the records of a stream: two are read, of the others admission demands only that they are UTF-8.
_ID, _TIME, _CONTENT_TYPE = "ce_id", "ce_time", "content-type"
_UNREAD = ("ce_sequence", "ce_recordedtime", "ce_expirytime", "traceparent")


@dataclass(frozen=True, slots=True)
class KnownStream:
    """What all records of a stream have in common.

    Attributes:
        session: The session.
        source: The source.
        content_type: The content type.
        count: The number of headers.
        same_of: Returns the headers that are the same in each record.
        same: These headers.
        id_at: Index of the header with the id.
        time_at: Index of the header with the event time.
        unread: Index and name of the other headers that differ.
        header_bytes: Bytes of all headers without the values that differ.
        by_append_time: Whether the event time of the source's records is their append time.
        check: Checks a payload and returns its duration (us).
    """

    session: str
    source: str
    content_type: str
    count: int
    same_of: Callable[[Headers], object]
    same: object
    id_at: int
    time_at: int
    unread: tuple[tuple[int, str], ...]
    header_bytes: int
    by_append_time: bool
    check: Callable[[bytes], int | Rejected]


class AdmissionCache:
    """Admission of one partition number; at STREAMS_MAX remembered streams it forgets all of them."""

    def __init__(self, number: int, partition_count: int, config: AlignmentConfig) -> None:
        self._number, self._partition_count, self._config = number, partition_count, config
        self._streams: dict[tuple[str, bytes | None], list[KnownStream]] = {}
        # Streams of sessions with many sources that were admitted once. A stream costs as much to remember as to admit, and
        # a device that names a new source in each record must not displace those that send again.
        self._seen: set[tuple[str, str, str]] = set()
        self._remembered = 0

    def admit(self, modality: str, record: LogRecord) -> Admitted | Rejected:
        """Judge one record of a modality's media topic."""
        headers, key = record.headers, (modality, record.key)
        for stream in self._streams.get(key, ()):
            if len(headers) == stream.count and stream.same_of(headers) == stream.same:
                known = self._known(modality, record, headers, stream)
                if known is not None:
                    return known
        if isinstance(record, UnreadableRecord):
            return record.rejected
        admitted = admit(
            modality,
            self._number,
            record.offset,
            record.timestamp * 1000,
            record.key,
            headers,
            record.value,
            self._config,
            self._partition_count,
        )
        if isinstance(admitted, AdmittedChunk) and (
            len(self._streams.get(key, ())) < REMEMBERED_AT_ONCE or self._is_seen(admitted.chunk)
        ):
            self._remember(key, record, admitted)
        return admitted

    def _is_seen(self, chunk: Chunk) -> bool:
        """Return whether a record of this stream was admitted before."""
        stream = chunk.modality, chunk.session, chunk.source
        if stream in self._seen:
            return True
        if len(self._seen) >= STREAMS_MAX:
            self._seen.clear()
        self._seen.add(stream)
        return False

    def _known(self, modality: str, record: LogRecord, headers: Headers, stream: KnownStream) -> AdmittedChunk | None:
        """Return the chunk of a known stream; None if `admit` must judge the record."""
        config, body, appended_us = self._config, record.value or b"", record.timestamp * 1000
        limits = config.admission
        (id_name, id_raw), (time_name, time_raw) = headers[stream.id_at], headers[stream.time_at]
        if id_name != _ID or time_name != _TIME or not body:
            return None
        try:
            id, time = id_raw.decode(), time_raw.decode()
            header_bytes = stream.header_bytes + len(id_raw) + len(time_raw)
            for at, name in stream.unread:
                unread_name, unread_raw = headers[at]
                if unread_name != name:
                    return None
                unread_raw.decode()
                header_bytes += len(unread_raw)
        except (UnicodeDecodeError, AttributeError):
            return None
        t_us = appended_us if stream.by_append_time else timestamps.parse(time)
        if t_us is None or not id or len(id) > limits.name_bytes_max:
            return None
        if len(body) > limits.payload_bytes_max or header_bytes > limits.header_bytes_max:
            return None
        duration_us = stream.check(body)
        if isinstance(duration_us, Rejected) or not 0 <= duration_us <= config.max_duration_us:
            return None
        if (
            t_us + duration_us > appended_us + config.future_us and not stream.by_append_time
        ) or t_us < appended_us - config.stale_after_us:
            return None
        chunk = Chunk(
            stream.session,
            modality,
            stream.source,
            id,
            t_us,
            duration_us,
            hashlib.sha256(body).hexdigest(),
            self._number,
            record.offset,
            appended_us,
            len(body),
            decode_pixels(body) if modality == VIDEO else 0,
        )
        return AdmittedChunk(chunk, stream.content_type, body)

    def _remember(self, key: tuple[str, bytes | None], record: LogRecord, admitted: AdmittedChunk) -> None:
        envelope = cloudevents.parse_envelope(record.headers, record.value)
        if (
            not isinstance(envelope, Envelope)
            or envelope.get("type") == cloudevents.ALIVE_TYPE
            or envelope.payload is not record.value
            or "time" not in envelope.attributes
        ):
            # Alive records have their own rule, structured events have their attributes in the value, and records
            # without a time come only from sources that use their append time.
            return
        if (_CONTENT_TYPE, envelope.get(_CONTENT_TYPE).encode()) not in record.headers:
            return  # The type was found by the first bytes: that of the next record may be another.
        names = [name for name, _ in record.headers]
        # All of them: a `traceparent` may stand twice.
        differing = [(at, name) for at, name in enumerate(names) if name in (_ID, _TIME, *_UNREAD)]
        differing_at = {at for at, _ in differing}
        same_of = itemgetter(*(at for at in range(len(names)) if at not in differing_at))
        header_bytes = sum(
            len(name) + (0 if at in differing_at else len(raw or b"")) for at, (name, raw) in enumerate(record.headers)
        )
        stream = KnownStream(
            session=admitted.chunk.session,
            source=admitted.chunk.source,
            content_type=admitted.content_type,
            count=len(names),
            same_of=same_of,
            same=same_of(record.headers),
            id_at=names.index(_ID),
            time_at=names.index(_TIME),
            unread=tuple((at, name) for at, name in differing if name in _UNREAD),
            header_bytes=header_bytes,
            by_append_time=self._config.uses_append_time(admitted.chunk.source),
            check=payload_check(key[0], envelope.attributes, self._config),
        )
        if self._remembered >= STREAMS_MAX:
            self._streams.clear()
            self._remembered = 0
        streams = self._streams.setdefault(key, [])
        if len(streams) >= SOURCES_MAX:
            self._remembered -= len(streams)
            streams.clear()
        streams.append(stream)
        self._remembered += 1
