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


def decode(raw: bytes) -> Frontier:
    """Read a frontier record. Raises canonical.NotJson or KeyError where it is none."""
    record = canonical.loads_object(raw)
    return Frontier(record["session"], record["start_us"], record["config"])
