"""The dead letter: a record that was refused, with the reason, its position and the hash of its bytes.

Every reason for which a record is refused or a member cannot be used, in one place.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from services.contract import canonical
from services.contract.record import Headers, RecordPosition

Stage = Literal["admission", "alignment", "fusion"]
REASON_HEADER = "braid-reason"
KEPT_HEADER_BYTES_MAX = 8_192


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refusal as it goes to the dead-letter topic; the payload itself is never in it.

    payload_bytes None: not known any more (the payload has expired).
    """

    position: RecordPosition
    stage: Stage
    rejected: Rejected
    payload_bytes: int | None
    sha256: str | None
    headers: Headers

    def encode(self) -> tuple[bytes, list[tuple[str, bytes]]]:
        """Canonical value, and the record's own headers (as far as they are few) with the reason's code."""
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
        kept: list[tuple[str, bytes]] = [(REASON_HEADER, self.rejected.reason.value.encode())]
        room = KEPT_HEADER_BYTES_MAX
        for name, raw in self.headers:
            room -= len(name) + len(raw or b"")
            if room >= 0 and raw is not None and name != REASON_HEADER:
                kept.append((name, raw))
        return canonical.dumps(value), kept


def make_dead_letter(
    at: RecordPosition,
    stage: Stage,
    rejected: Rejected,
    payload: bytes | None,
    headers: Headers,
) -> DeadLetter:
    """The dead letter of a record; a null payload has no hash."""
    sha256 = None if payload is None else hashlib.sha256(payload).hexdigest()
    return DeadLetter(at, stage, rejected, None if payload is None else len(payload), sha256, headers)


class Reason(StrEnum):
    """Stable codes; they stand in dead letters, in predictions and as metric labels."""

    KEY = "key"  # no key: nothing says which session it belongs to
    NULL = "null"  # no value where one is needed
    HEADER = "header"  # a required header is missing, double or not UTF-8
    VERSION = "version"  # another CloudEvents version than 1.0
    TYPE = "type"  # a ce_type that this topic does not carry
    SESSION = "session"  # not 1-128 bytes of printable UTF-8, or ce_subject differs from the key
    SOURCE = "source"  # ce_source or ce_id empty or too long
    UNDECLARED = "undeclared"  # the settings say that this session has no such modality
    TIME = "time"  # ce_time is not an RFC 3339 time stamp
    FUTURE = "future"  # ends too far ahead of its arrival
    STALE = "stale"  # captured too long before its arrival
    DURATION = "duration"  # below zero or too long
    PARTITION = "partition"  # not in the partition that its key belongs to
    SIZE = "size"  # more bytes than allowed
    EMPTY = "empty"  # no bytes where media must be
    CONTENT_TYPE = "content_type"  # not on the list for this modality
    MAGIC = "magic"  # the bytes are not of the type that the header states
    PIXELS = "pixels"  # the picture states more pixels than allowed
    SAMPLES = "samples"  # a byte count that makes no whole samples, or too many of them
    WAV_HEADER = "wav_header"  # the WAV header contradicts the bytes
    UTF8 = "utf8"  # text that is not UTF-8
    TEXT = "text"  # a JSON message without a usable text, or one too long
    CONFLICT = "conflict"  # a known identity with other bytes
    LIMIT = "limit"  # every window that it belongs to is full
    TICK = "tick"  # a tick that cannot be read
    FORGED = "forged"  # a tick without a valid signature
    RECORD = "record"  # one of our own topics holds what is no record of this contract (stage fusion)
    UNDECODABLE = "undecodable"  # the decoder refused the bytes (stage fusion)
    EXPIRED = "expired"  # gone from Redis and from the log (stage fusion)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refusal as a value: the code, and a sentence that never quotes the payload."""

    reason: Reason
    detail: str
