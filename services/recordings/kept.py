"""A record as a recording keeps it: everything that the broker said of it."""

from __future__ import annotations

from typing import NamedTuple

from services.contract.envelope import Headers


class Kept(NamedTuple):
    """One record of a topic; timestamp is the broker's append time in ms, a null key or value is None."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    headers: Headers
    value: bytes | None
