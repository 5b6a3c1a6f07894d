"""The frontier record: the start of the last emitted window of a session."""

from __future__ import annotations

from dataclasses import dataclass

from services.contract import canonical
from services.contract.record_fields import ContractError, integer, session_of_key, text, time_us
from services.contract.session_reset import generation_id, split_generation_id

_SEPARATOR = b"\0"


@dataclass(frozen=True, slots=True)
class LastEmittedWindow:
    """The start of the last emitted window of a session's generation; `config` is the digest of its settings."""

    session: str
    start_us: int
    config: str
    generation: int = 0

    @classmethod
    def of(cls, generation_id: str, start_us: int, config: str) -> LastEmittedWindow:
        """Build the record of a generation id."""
        session, generation = split_generation_id(generation_id)
        return cls(session, start_us, config, generation)

    @property
    def generation_id(self) -> str:
        """Return what names the generation where state is kept."""
        return generation_id(self.session, self.generation)


def key(generation_id: str, nonce: str) -> bytes:
    """Return the key of a generation and an assignment; a paused former owner cannot overwrite its successor's record."""
    return generation_id.encode() + _SEPARATOR + nonce.encode()


def session_of(key: bytes) -> str:
    """Return the session of a frontier key. Raises ContractError if it is not UTF-8."""
    return split_generation_id(session_of_key(key.partition(_SEPARATOR)[0]))[0]


def encode(frontier: LastEmittedWindow) -> bytes:
    """Return the canonical bytes of a frontier record."""
    record = {"session": frontier.session, "start_us": frontier.start_us, "config": frontier.config}
    return canonical.dumps(record | ({"generation": frontier.generation} if frontier.generation else {}))


def decode_or_none(raw: bytes | None) -> LastEmittedWindow | None:
    """Decode a frontier record; return None if it is invalid."""
    try:
        record = canonical.loads_object(raw or b"")
        generation = integer(record, "generation") if "generation" in record else 0
        return LastEmittedWindow(
            text(record, "session"), time_us(record, "start_us"), text(record, "config"), generation
        )
    except ContractError:
        return None
