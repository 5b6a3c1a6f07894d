"""Records that a device without the secret of the services may write to their topics, each of which would do harm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

from services.contract import canonical, last_emitted_window, tick, window
from services.contract.kafka_record import Headers
from services.contract.last_emitted_window import LastEmittedWindow
from services.contract.partitioner import partition_of
from services.contract.topics import Topics
from services.contract.window import Window, WindowMembers

HOUR_US = 3_600_000_000
CONFIG = "0" * 12
# Topics whose forged records are dead letters as soon as they are processed; those of the others follow within seconds.
DEAD_LETTERED = ("window", "idle")


@dataclass(frozen=True, slots=True)
class Forgery:
    """A record without a valid signature."""

    kind: str
    topic: str
    partition: int
    key: bytes | None
    value: bytes
    headers: Headers = ()


class Forger:
    """Makes one forged record after the other: window, idle record, frontier, mute, prediction."""

    def __init__(self, topics: Topics, partition_count: int) -> None:
        self._topics, self._count = topics, partition_count
        self._kinds: Iterator[str] = cycle(("window", "idle", "frontier", "mute", "prediction"))

    def next_record(self, session: str, now_us: int) -> Forgery:
        """Return a forged record about a live session: each kind would end its windows, or mute it."""
        kind, topics, key = next(self._kinds), self._topics, session.encode()
        number = partition_of(key, self._count)
        start_us = now_us - now_us % 500_000 + HOUR_US
        if kind == "window":
            absent = {m: WindowMembers("absent", "tick", start_us, ()) for m in topics.modalities}
            forged = Window(session, start_us, start_us + 2_000_000, None, True, CONFIG, absent, start_us, start_us)
            return Forgery(kind, topics.windows, number, key, window.encode(forged))
        if kind == "idle":
            (value,) = tick.encode({session: start_us}, "tick")
            return Forgery(kind, topics.media("text"), number, None, value, tick.headers(value))
        if kind == "frontier":
            value = last_emitted_window.encode(LastEmittedWindow(session, start_us, CONFIG))
            return Forgery(kind, topics.frontier, number, last_emitted_window.key(session, "forged"), value)
        if kind == "mute":
            value = canonical.dumps({"muted": list(topics.modalities), "forgotten_before_us": start_us})
            return Forgery(kind, topics.control, number, key, value)
        value = canonical.dumps({"id": f"{session}/{start_us // 1000}/1@forged", "session": session, "final": True})
        return Forgery(kind, topics.predictions, number, key, value)
