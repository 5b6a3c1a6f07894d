"""Dead letters: the reasons for which a record is rejected or a member is unusable, and the record that reports one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from services.contract import canonical
from services.contract.record import Headers, RecordPosition

Stage = Literal["admission", "alignment", "fusion"]
REASON_HEADER = "braid-reason"
COPIED_HEADER_BYTES_MAX = 8_192


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

    def encode(self) -> tuple[bytes, list[tuple[str, bytes]]]:
        """Return the canonical value and the headers: the reason's code and, up to a limit, those of the record."""
        value = {
            "reason": self.rejected.reason.value,
            "detail": self.rejected.detail,
            "stage": self.stage,
            "topic": self.position.topic,
            "partition": self.position.partition,
            "offset": self.position.offset,
            "size": self.payload_bytes,
            "sha256": self.sha256,
        }
        headers: list[tuple[str, bytes]] = [(REASON_HEADER, self.rejected.reason.value.encode())]
        room = COPIED_HEADER_BYTES_MAX
        for name, raw in self.headers:
            room -= len(name) + len(raw or b"")
            if room >= 0 and raw is not None and name != REASON_HEADER:
                headers.append((name, raw))
        return canonical.dumps(value), headers


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
    TICK = "tick"  # an invalid tick
    FORGED = "forged"  # a tick without a valid signature
    RECORD = "record"  # an invalid record in a topic that Braid writes (stage fusion)
    UNDECODABLE = "undecodable"  # the decoder failed on the bytes (stage fusion)
    EXPIRED = "expired"  # no longer in Redis or in the log (stage fusion)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A rejection: its code, and a sentence that never quotes the payload."""

    reason: Reason
    detail: str
