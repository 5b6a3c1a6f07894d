"""The dead letter: a record that was refused, with the reason, its position and the hash of its bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from services.contract import canonical
from services.contract.envelope import Headers
from services.contract.reason import Rejected

Stage = Literal["admission", "alignment", "fusion"]
REASON_HEADER = "braid-reason"
KEPT_HEADER_BYTES_MAX = 8_192


@dataclass(frozen=True, slots=True)
class Position:
    """Where a record stands in the log."""

    topic: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One refusal as it goes to the dead-letter topic; the payload itself is never in it.

    payload_bytes None: not known any more (the payload has expired).
    """

    at: Position
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
            "topic": self.at.topic,
            "partition": self.at.partition,
            "offset": self.at.offset,
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


def letter(
    at: Position,
    stage: Stage,
    rejected: Rejected,
    payload: bytes | None,
    headers: Headers,
) -> DeadLetter:
    """The dead letter of a record; a null payload has no hash."""
    sha256 = None if payload is None else hashlib.sha256(payload).hexdigest()
    return DeadLetter(at, stage, rejected, None if payload is None else len(payload), sha256, headers)
