"""Session resets: records in the media topics with which a session is begun anew, as a new generation of it.

A watermark that ran far ahead makes everything that a session sends late. A reset stands in each media log of the session:
what comes before it in a log belongs to the old generation, what comes after it to the new one, which has watermarks and
windows of its own. So windows remain a function of the media logs. Devices may write to media topics too, so resets are
signed (`signature`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from services.contract import canonical
from services.contract.dead_letter import Reason, Rejected
from services.contract.record_fields import (
    TIME_US_MAX,
    ContractError,
    check_items,
    check_time_us,
    integer,
    text,
)

RESET_TYPE = "braid.reset.v1"
_HEADERS = [
    ("ce_specversion", b"1.0"),
    ("ce_type", RESET_TYPE.encode()),
    ("ce_source", b"/braid/reset-session"),
    ("content-type", b"application/json"),
]
# The watermark of an old generation after a reset: it closes every window.
CLOSED_US = TIME_US_MAX
# Fewer digits than those of the largest 64-bit integer.
_DIGITS_MAX = 19
# No session id has a character that cannot be printed.
_SEPARATOR = "\x01"
_KEY_PREFIX = b"\x01reset\x01"


def generation_id(session: str, generation: int) -> str:
    """Return what names a generation of a session where state is kept: the session itself for generation 0."""
    return f"{session}{_SEPARATOR}{generation}" if generation else session


def split_generation_id(id: str) -> tuple[str, int]:
    """Return session and generation of a generation id."""
    session, _, digits = id.partition(_SEPARATOR)
    return session, parse_generation(digits)


def parse_generation(digits: str) -> int:
    """Return the generation that stands in an id, 0 for anything else."""
    return int(digits) if digits.isdecimal() and len(digits) < _DIGITS_MAX else 0


@dataclass(frozen=True, slots=True)
class SessionReset:
    """The beginning of a generation in one media log.

    Attributes:
        session: The session.
        generation: The time of the reset (ms since the epoch); larger than every earlier generation.
    """

    session: str
    generation: int


def encode(reset: SessionReset) -> bytes:
    """Return the canonical bytes of a reset record."""
    return canonical.dumps({"session": reset.session, "generation": reset.generation})


def headers(value: bytes) -> list[tuple[str, bytes]]:
    """Return the headers of a reset record; its ce_id is a hash of its content, so a repeated reset is one event."""
    return [*_HEADERS, ("ce_id", hashlib.sha256(value).hexdigest()[:16].encode())]


def decode(value: bytes) -> SessionReset | Rejected:
    """Decode the value of a reset; a value of any other form is rejected."""
    try:
        record = canonical.loads_object(value)
        reset = SessionReset(text(record, "session"), integer(record, "generation"))
    except ContractError as error:
        return Rejected(Reason.RESET, str(error))
    if reset.generation <= 0 or not reset.session or not reset.session.isprintable():
        return Rejected(Reason.RESET, "the generation is not positive, or the session is no session id")
    return reset


class GenerationStart(NamedTuple):
    """Where a generation begins in one media log.

    The reset itself may be deleted or lie before the offset at which a restart reads on, so the aligner keeps this record
    in the control topic, where nothing expires.
    """

    session: str
    generation: int
    modality: str
    offset: int
    appended_us: int


def start_key(start: GenerationStart) -> bytes:
    """Return the key of the record of a generation's start; no session has such an id."""
    return _KEY_PREFIX + canonical.dumps([start.session, start.generation, start.modality])


def is_start_key(key: bytes | None) -> bool:
    """Return whether a key of the control topic is that of a generation's start."""
    return key is not None and key.startswith(_KEY_PREFIX)


def encode_start(start: GenerationStart) -> bytes:
    """Return the canonical bytes of the record of a generation's start."""
    return canonical.dumps(
        {
            "session": start.session,
            "generation": start.generation,
            "modality": start.modality,
            "at": [start.offset, start.appended_us],
        }
    )


def decode_start(raw: bytes | None) -> GenerationStart:
    """Decode the record of a generation's start. Raises ContractError if it is invalid."""
    record = canonical.loads_object(raw or b"")
    offset, appended_us = check_items(record.get("at"), 2, "at")
    return GenerationStart(
        text(record, "session"),
        integer(record, "generation"),
        text(record, "modality"),
        check_time_us(offset, "at"),
        check_time_us(appended_us, "at"),
    )
