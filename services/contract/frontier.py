"""The frontier record: the start of the last window that went out for a session."""

from __future__ import annotations

from dataclasses import dataclass

from services.contract import canonical

_SEPARATOR = b"\0"


@dataclass(frozen=True, slots=True)
class Frontier:
    """How far a session's windows went, under which settings (`config`)."""

    session: str
    start_us: int
    config: str


def key(session: str, nonce: str) -> bytes:
    """One key per session and assignment: a paused old owner cannot overwrite its successor's record."""
    return session.encode() + _SEPARATOR + nonce.encode()


def session_of(key: bytes) -> str:
    """The session of a frontier key."""
    return key.partition(_SEPARATOR)[0].decode()


def encode(frontier: Frontier) -> bytes:
    """The canonical bytes of a frontier record."""
    return canonical.dumps({"session": frontier.session, "start_us": frontier.start_us, "config": frontier.config})


def decode_or_none(raw: bytes) -> Frontier | None:
    """Read a frontier record, None for what is none."""
    try:
        record = canonical.loads_object(raw)
        session, start_us, config = record["session"], record["start_us"], record["config"]
    except (canonical.InvalidJson, KeyError):
        return None
    if type(start_us) is not int or not isinstance(session, str) or not isinstance(config, str):
        return None
    return Frontier(session, start_us, config)
