"""Dead letters: the reasons for which a record is rejected or a member is unusable, and the record that reports one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from services.contract import canonical, timestamps
from services.contract.kafka_record import Headers, RecordPosition
from services.contract.output_events import ALIGNER_SOURCE, FUSION_SOURCE, OutputHeaders
from services.contract.record_fields import ContractError, integer, text

Stage = Literal["admission", "alignment", "fusion"]
REASON_HEADER, CUT_HEADER = "braid-reason", "braid-cut"
# What the names of the rejected record's own CloudEvents headers begin with: a dead letter is an event itself.
RECORD_PREFIX = "braid-record-"
_ALIGNER, _FUSION = OutputHeaders("dead", ALIGNER_SOURCE), OutputHeaders("dead", FUSION_SOURCE)
# A dead letter always fits its topic: no key, header or payload of the record can prevent it.
KEY_BYTES_MAX = 1_024
COPIED_HEADERS_MAX, COPIED_HEADER_BYTES_MAX = 100, 8_192
DETAIL_MAX = 500


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record of the dead-letter topic; it never contains the payload.

    Attributes:
        position: Position of the rejected record.
        stage: Where it was rejected.
        rejected: The reason.
        payload_bytes: Size of its payload; None if unknown (the payload has expired).
        sha256: Hash of its payload, None if it has none.
        headers: Its headers.
    """

    position: RecordPosition
    stage: Stage
    rejected: Rejected
    payload_bytes: int | None
    sha256: str | None
    headers: Headers

    def encode(self, key: bytes | None) -> tuple[bytes | None, bytes, list[tuple[str, bytes]]]:
        """Return key, canonical value and headers: its own CloudEvents headers, the reason's code, and those of the record.

        The names of the record's CloudEvents headers and of its content type begin with RECORD_PREFIX.

        key: the record's key. Key and headers are cut to limits; where they were, `braid-cut` has the original sizes.
        """
        headers: list[tuple[str, bytes]] = []
        size = 0
        for name, raw in self.headers:
            size += len(name.encode(errors="replace")) + len(raw or b"")
            fits = size <= COPIED_HEADER_BYTES_MAX and len(headers) < COPIED_HEADERS_MAX
            is_ours = name in (REASON_HEADER, CUT_HEADER) or name.startswith(RECORD_PREFIX)
            if fits and raw is not None and not is_ours:
                is_attribute = name.startswith("ce_") or name == "content-type"
                # Readers of CloudEvents decode every header as UTF-8.
                text = raw.decode(errors="backslashreplace").encode()
                headers.append((RECORD_PREFIX + name if is_attribute else name, text))
        cut_key = None if key is None else _readable_key(key)
        head = self._head(cut_key)
        key_bytes = len(key or b"")
        if key_bytes > KEY_BYTES_MAX or size > COPIED_HEADER_BYTES_MAX or len(self.headers) > COPIED_HEADERS_MAX:
            sizes = {"key_bytes": key_bytes, "header_bytes": size, "headers": len(self.headers)}
            head.append((CUT_HEADER, canonical.dumps(sizes)))
        return cut_key, self._value(), head + headers

    def encode_by_position(self) -> tuple[bytes, list[tuple[str, bytes]]]:
        """Return value and headers without anything of the record but its position, for a broker that refuses more."""
        return self._value(), [*self._head(None, with_time=False), (CUT_HEADER, b"{}")]

    def _head(self, key: bytes | None, *, with_time: bool = True) -> list[tuple[str, bytes]]:
        """Return its own CloudEvents headers and the reason; the time is the record's, if it has one."""
        reason, at = self.rejected.reason.value, self.position
        stated = next((raw for name, raw in self.headers if name == "ce_time" and raw), b"") if with_time else b""
        output = _FUSION if self.stage == "fusion" else _ALIGNER
        headers = output.build(
            f"{at.topic}/{at.partition}/{at.offset}/{self.stage}/{reason}",
            _subject(key),
            timestamps.parse(stated.decode(errors="replace")),
        )
        return [*headers, (REASON_HEADER, reason.encode())]

    def _value(self) -> bytes:
        return canonical.dumps(
            {
                "reason": self.rejected.reason.value,
                "detail": self.rejected.detail[:DETAIL_MAX].encode(errors="replace").decode(),
                "stage": self.stage,
                "topic": self.position.topic,
                "partition": self.position.partition,
                "offset": self.position.offset,
                "size": self.payload_bytes,
                "sha256": self.sha256,
            }
        )


def _readable_key(key: bytes) -> bytes:
    r"""Return a key as UTF-8 of at most KEY_BYTES_MAX, which readers of CloudEvents need; other bytes become `\xff`."""
    readable = key[:KEY_BYTES_MAX].decode(errors="backslashreplace").encode()
    return readable[:KEY_BYTES_MAX].decode(errors="ignore").encode()


def _subject(key: bytes | None) -> bytes | None:
    """Return a readable key that can be the subject of an event, None for any other."""
    return key if key and key.decode().isprintable() else None


def record_header(headers: Headers, name: str) -> bytes | None:
    """Return a CloudEvents header that the rejected record of a dead letter had, None if it had none."""
    return next((raw for n, raw in headers if n == RECORD_PREFIX + name), None)


def decode(raw: bytes | None) -> dict[str, Any]:
    """Decode the value of a dead letter. Raises ContractError if it is invalid."""
    record = canonical.loads_object(raw or b"")
    for name in ("reason", "detail", "stage", "topic"):
        text(record, name)
    for name in ("partition", "offset"):
        integer(record, name)
    return record


def make_dead_letter(
    position: RecordPosition,
    stage: Stage,
    rejected: Rejected,
    payload: bytes | None,
    headers: Headers,
) -> DeadLetter:
    """Return the dead letter of a record; a null payload has no hash."""
    sha256 = None if payload is None else hashlib.sha256(payload).hexdigest()
    return DeadLetter(position, stage, rejected, None if payload is None else len(payload), sha256, headers)


class Reason(StrEnum):
    """Stable codes, used in dead letters, in predictions and as metric labels."""

    KEY = "key"  # no key, so its session is unknown
    NULL = "null"  # no value where one is needed
    HEADER = "header"  # a required header is missing, double or not UTF-8
    VERSION = "version"  # another CloudEvents version than 1.0
    TYPE = "type"  # a ce_type that this topic does not carry
    SESSION = "session"  # not 1-128 bytes of printable UTF-8, or ce_subject differs from the key
    SOURCE = "source"  # ce_source or ce_id empty or too long
    UNDECLARED = "undeclared"  # by the settings, this session has no such modality
    TIME = "time"  # ce_time is not an RFC 3339 time stamp
    FUTURE = "future"  # ends too far ahead of its arrival
    STALE = "stale"  # captured too long before its arrival
    DURATION = "duration"  # below zero or too long
    PARTITION = "partition"  # not in the partition that its key belongs to
    SIZE = "size"  # more bytes than allowed
    EMPTY = "empty"  # media without bytes
    CONTENT_TYPE = "content_type"  # not allowed for this modality
    MAGIC = "magic"  # the bytes are of another type than the header states
    PIXELS = "pixels"  # the frame has more pixels than allowed
    SAMPLES = "samples"  # not a whole number of samples, or too many
    WAV_HEADER = "wav_header"  # the WAV header contradicts the bytes
    UTF8 = "utf8"  # text that is not UTF-8
    TEXT = "text"  # a JSON message without a usable text, or one too long
    CONFLICT = "conflict"  # a known identity with other bytes
    LIMIT = "limit"  # every window that it belongs to is full
    QUOTA = "quota"  # its source or session has sent more than its quota
    TICK = "tick"  # an invalid tick
    RESET = "reset"  # an invalid reset of a session
    FORGED = "forged"  # a record that only services write, and that none has signed for its place
    RECORD = "record"  # an invalid record in a topic that Braid writes (stage fusion)
    UNDECODABLE = "undecodable"  # the decoder failed on the bytes (stage fusion)
    TOO_COSTLY = "too_costly"  # decoding would take too much memory or time (stage fusion)
    EXPIRED = "expired"  # no longer in Redis or in the log (stage fusion)
    UNREADABLE = "unreadable"  # the record or its batch cannot be read from the log
    ERROR = "error"  # Braid failed on this record: please report it


@dataclass(frozen=True, slots=True)
class Rejected:
    """A rejection: its code, and a sentence that never quotes the payload.

    Attributes:
        reason: The code.
        detail: The sentence.
        clock: If the clock of the source is the reason: the source, and its clock offset (us).
    """

    reason: Reason
    detail: str
    clock: tuple[str, int] | None = None


class UnreadableRecord(NamedTuple):
    """A record that cannot be read from its log: it has a position, an append time (ms) and a reason, and no content.

    Consumers meet it in the place of the record. Those with a producer dead-letter it, others count and skip it.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    rejected: Rejected
    key: None = None
    headers: Headers = ()
    value: None = None


def rejected_for(error: Exception) -> Rejected:
    """Return the rejection of a record that breaks the contract, or on which Braid itself failed.

    The text of any other error than ContractError may quote the payload and is left out.
    """
    if isinstance(error, ContractError):
        return Rejected(Reason.RECORD, str(error))
    return Rejected(Reason.ERROR, f"Braid failed on this record with {type(error).__name__}: please report it")
