"""The gate: admission of a log, with what was found out once about a stream kept for its next records.

Nearly all that a record's headers say is the same for every record of its stream. Of a stream that admission let in
before, only what is new in a record is judged here; every other record, and each that is refused, is judged whole by
`admit`. What comes out is the same (tests/property/test_gate.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

from services.contract import cloudevents, timestamps
from services.contract.admission import Admitted, AdmittedChunk, admit, payload_check
from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import Chunk
from services.contract.cloudevents import Envelope
from services.contract.dead_letter import Rejected
from services.contract.record import Headers, LogRecord

STREAMS_MAX = 50_000
# Of one session and modality: they are looked through one by one.
SOURCES_MAX = 32
# What differs from record to record: the first two are read, of the others admission asks only that they are text.
_ID, _TIME = "ce_id", "ce_time"
_UNREAD = ("ce_sequence", "ce_recordedtime", "ce_expirytime", "traceparent")


@dataclass(frozen=True, slots=True)
class KnownStream:
    """What all records of a stream have in common.

    count: of their headers; same: which of them are the same in each record, by place, and what they say; id_at,
    time_at, unread: places and names of the others; header_bytes: of all headers but the values that differ; measure:
    how long a payload lasts.
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
    measure: Callable[[bytes], int | Rejected]


class AdmissionCache:
    """Admission of one partition number. It remembers at most STREAMS_MAX streams, then begins anew."""

    def __init__(self, number: int, partition_count: int, semantics: AlignmentConfig) -> None:
        self._number, self._partition_count, self._semantics = number, partition_count, semantics
        self._streams: dict[tuple[str, bytes | None], list[KnownStream]] = {}
        self._remembered = 0

    def admit(self, modality: str, record: LogRecord) -> Admitted | Rejected:
        """Judge one record of a modality's media topic."""
        headers, key = record.headers, (modality, record.key)
        for stream in self._streams.get(key, ()):
            if len(headers) == stream.count and stream.same_of(headers) == stream.same:
                known = self._known(modality, record, headers, stream)
                if known is not None:
                    return known
        read = admit(
            modality,
            self._number,
            record.offset,
            record.timestamp * 1000,
            record.key,
            headers,
            record.value,
            self._semantics,
            self._partition_count,
        )
        if isinstance(read, AdmittedChunk):
            self._remember(key, record, read)
        return read

    def _known(self, modality: str, record: LogRecord, headers: Headers, stream: KnownStream) -> AdmittedChunk | None:
        """The chunk of a stream that was admitted before; None where anything must be looked at more closely."""
        semantics, body, appended_us = self._semantics, record.value or b"", record.timestamp * 1000
        limits = semantics.admission
        (id_name, id_raw), (time_name, time_raw) = headers[stream.id_at], headers[stream.time_at]
        if id_name != _ID or time_name != _TIME or not body:
            return None
        try:
            id, t_us = id_raw.decode(), timestamps.parse(time_raw.decode())
            header_bytes = stream.header_bytes + len(id_raw) + len(time_raw)
            for at, name in stream.unread:
                unread_name, unread_raw = headers[at]
                if unread_name != name:
                    return None
                unread_raw.decode()
                header_bytes += len(unread_raw)
        except (UnicodeDecodeError, AttributeError):
            return None
        if t_us is None or not id or len(id) > limits.name_bytes_max:
            return None
        if len(body) > limits.payload_bytes_max or header_bytes > limits.header_bytes_max:
            return None
        length = stream.measure(body)
        if isinstance(length, Rejected) or not 0 <= length <= semantics.max_duration_us:
            return None
        if t_us + length > appended_us + semantics.future_us or t_us < appended_us - semantics.stale_after_us:
            return None
        chunk = Chunk(
            stream.session,
            modality,
            stream.source,
            id,
            t_us,
            length,
            hashlib.sha256(body).hexdigest(),
            self._number,
            record.offset,
            appended_us,
        )
        return AdmittedChunk(chunk, stream.content_type, body)

    def _remember(self, key: tuple[str, bytes | None], record: LogRecord, arrival: AdmittedChunk) -> None:
        read = cloudevents.parse_envelope(record.headers, record.value)
        if (
            not isinstance(read, Envelope)
            or read.get("type") == cloudevents.ALIVE_TYPE
            or read.payload is not record.value
        ):
            return  # alive records have a rule of their own, structured events their attributes in the value
        names = [name for name, _ in record.headers]
        differing = {name: names.index(name) for name in (_ID, _TIME, *_UNREAD) if name in names}
        same_of = itemgetter(*(at for at in range(len(names)) if at not in differing.values()))
        header_bytes = sum(
            len(name) + (0 if at in differing.values() else len(raw or b""))
            for at, (name, raw) in enumerate(record.headers)
        )
        stream = KnownStream(
            session=arrival.chunk.session,
            source=arrival.chunk.source,
            content_type=arrival.content_type,
            count=len(names),
            same_of=same_of,
            same=same_of(record.headers),
            id_at=differing.pop(_ID),
            time_at=differing.pop(_TIME),
            unread=tuple((at, name) for name, at in differing.items()),
            header_bytes=header_bytes,
            measure=payload_check(key[0], read.attributes, self._semantics),
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
