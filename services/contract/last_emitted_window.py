"""The frontier record: the start of the last emitted window of a session."""

from __future__ import annotations

from dataclasses import dataclass

from services.contract import canonical
from services.contract.record_fields import ContractError, session_of_key, text, time_us

_SEPARATOR = b"\0"


@dataclass(frozen=True, slots=True)
class LastEmittedWindow:
    """The start of a session's last emitted window; `config` is the digest of its alignment settings."""

    session: str
    start_us: int
    config: str


def key(session: str, nonce: str) -> bytes:
    """Return the key of a session and an assignment; a paused former owner cannot overwrite its successor's record."""
    return session.encode() + _SEPARATOR + nonce.encode()


def session_of(key: bytes) -> str:
    """Return the session of a frontier key. Raises ContractError if it is not UTF-8."""
    return session_of_key(key.partition(_SEPARATOR)[0])


def encode(frontier: LastEmittedWindow) -> bytes:
    """Return the canonical bytes of a frontier record."""
    return canonical.dumps({"session": frontier.session, "start_us": frontier.start_us, "config": frontier.config})


def decode_or_none(raw: bytes | None) -> LastEmittedWindow | None:
    """Decode a frontier record; return None if it is invalid."""
    try:
        record = canonical.loads_object(raw or b"")
        return LastEmittedWindow(text(record, "session"), time_us(record, "start_us"), text(record, "config"))
    except ContractError:
        return None
