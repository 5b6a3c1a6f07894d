"""Every reason for which a record is refused or a member cannot be used, in one place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
