"""A record of a topic, as Kafka keeps it, and where it stands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Headers = Sequence[tuple[str, bytes]]
Place = tuple[str, int, int]


class Kept(NamedTuple):
    """One record of a topic; timestamp is the broker's append time in ms, a null key or value is None."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    headers: Headers
    value: bytes | None
