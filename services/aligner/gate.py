"""The gate: admission of a log, with what was found out once about a stream kept for its next records.

Nearly all that a record's headers say is the same for every record of its stream. Of a stream that admission let in
before, only what is new in a record is judged here; every other record, and each that is refused, is judged whole by
`admit`. What comes out is the same (tests/property/test_gate.py).
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from services.aligner.admit import Admitted, Arrival, admit, length_of
from services.aligner.instep import Record
from services.contract import envelope, moment
from services.contract.chunk import Chunk
from services.contract.envelope import Envelope
from services.contract.reason import Rejected
from services.contract.semantics import Semantics

STREAMS_MAX = 10_000
# What differs from record to record: the first two are read, of the others admission asks only that they are text.
_ID, _TIME = "ce_id", "ce_time"
_UNREAD = ("ce_sequence", "ce_recordedtime", "ce_expirytime", "traceparent")
_NAME_BYTES = max(map(len, _UNREAD))


class Stream(NamedTuple):
    """What all records of a stream have in common.

    attributes: those that tell how long a chunk lasts; header_bytes: all but the values that differ.
    """

    session: str
    source: str
    attributes: dict[str, str]
    header_bytes: int


class Gate:
    """Admission of one partition number. It remembers at most STREAMS_MAX streams, then begins anew."""

    def __init__(self, number: int, partition_count: int, semantics: Semantics) -> None:
        self._number, self._partition_count, self._semantics = number, partition_count, semantics
        self._streams: dict[tuple[object, ...], Stream] = {}

    def admit(self, modality: str, record: Record) -> Admitted | Rejected:
        """Judge one record of a modality's media topic."""
        headers = dict(record.headers)
        differing = [headers.pop(_ID, b""), headers.pop(_TIME, b"")]
        differing += [headers.pop(name) for name in _UNREAD if name in headers]
        # A device writes its headers in one order; in another they are only another entry.
        key = (modality, record.key, *headers, *headers.values())
        stream = self._streams.get(key)
        if stream is not None and record.value and len(record.headers) == len(headers) + len(differing):
            known = self._known(modality, record, stream, differing)
            if known is not None:
                return known
        read = admit(
            modality,
            self._number,
            record.offset,
            record.timestamp * 1000,
            record.key,
            record.headers,
            record.value,
            self._semantics,
            self._partition_count,
        )
        if stream is None and isinstance(read, Arrival):
            self._remember(key, record, read)
        return read

    def _known(self, modality: str, record: Record, stream: Stream, differing: list[bytes]) -> Arrival | None:
        """The chunk of a stream that was admitted before; None where anything must be looked at more closely."""
        semantics, body, appended_us = self._semantics, record.value or b"", record.timestamp * 1000
        limits = semantics.admission
        try:
            id, time, *_ = [raw.decode() for raw in differing]
        except (UnicodeDecodeError, AttributeError):
            return None
        header_bytes = stream.header_bytes + sum(map(len, differing)) + _NAME_BYTES * len(differing)
        t_us = moment.parse(time)
        if t_us is None or not id or len(id) > limits.name_bytes_max:
            return None
        if len(body) > limits.payload_bytes_max or header_bytes > limits.header_bytes_max:
            return None
        length = length_of(modality, stream.attributes, body, semantics)
        if isinstance(length, Rejected) or not 0 <= length <= semantics.max_duration_us:
            return None
        if t_us + length > appended_us + semantics.future_us or t_us < appended_us - semantics.stale_after_us:
            return None
        sha256 = hashlib.sha256(body).hexdigest()
        chunk = Chunk(
            stream.session,
            modality,
            stream.source,
            id,
            t_us,
            length,
            sha256,
            self._number,
            record.offset,
            appended_us,
        )
        return Arrival(chunk, stream.attributes["content-type"], body)

    def _remember(self, key: tuple[object, ...], record: Record, arrival: Arrival) -> None:
        read = envelope.unwrap(record.headers, record.value)
        if (
            not isinstance(read, Envelope)
            or read.get("type") == envelope.ALIVE_TYPE
            or read.payload is not record.value
        ):
            return  # alive records have a rule of their own, structured events their attributes in the value
        attributes = {name: read.get(name) for name in ("content-type", "duration")}
        size = sum(len(name) + len(raw or b"") for name, raw in record.headers)
        if len(self._streams) >= STREAMS_MAX:
            self._streams.clear()
        self._streams[key] = Stream(arrival.chunk.session, arrival.chunk.source, attributes, size)
