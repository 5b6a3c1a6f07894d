"""What the page can show of each session, within limits of number, age and bytes. Pure: time is an argument."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.gateway.messages import KINDS, PageMessage

Json = dict[str, Any]
CLOCK_AHEAD_US_MAX = 1_000_000
# What is so far ahead of the first window of a generation belongs to an older one.
FUTURE_US = 60_000_000


class SessionView:
    """The messages of a session by kind and key, and its summary.

    `head_us` is the newest event time of a chunk or window, `arrived_us` the newest append time of a chunk, `generation`
    the newest generation of the session.
    """

    def __init__(self, session: str, generation: int = 0) -> None:
        self.session, self.generation = session, generation
        self.messages: dict[str, dict[str, PageMessage]] = {kind: {} for kind in KINDS}
        self.head_us = self.arrived_us = 0
        self.counts = {"chunk": 0, "late": 0, "dead": 0, "copy": 0}
        self._newest: tuple[int, bool, Mapping[str, Any]] | None = None
        self._event: Mapping[str, Any] | None = None
        self._hashes: dict[object, str] = {}

    def add(self, message: PageMessage) -> bool:
        """Add a message; return False if it is known already (topics hold records twice after a crash)."""
        known = self.messages[message.kind].get(message.key)
        if known is not None and known.raw == message.raw:
            return False
        self.messages[message.kind][message.key] = message
        if message.kind in self.counts:
            self.counts[message.kind] += 1
        self._move_head(message)
        if message.facts is not None:
            self._summarize(message, message.facts)
        return True

    def remove(self, message: PageMessage) -> None:
        """Remove a message unless another one has replaced it."""
        if self.messages[message.kind].get(message.key) is message:
            del self.messages[message.kind][message.key]
            if message.kind == "chunk" and message.facts is not None:
                self._hashes.pop(message.facts["identity"], None)

    def replace(self, message: PageMessage, other: PageMessage) -> None:
        """Put another message of the same key in the place of a message."""
        if self.messages[message.kind].get(message.key) is message:
            self.messages[message.kind][message.key] = other

    def begin_generation(self, generation: int) -> None:
        """Summarize what is left of the session, without the prediction and event of older generations."""
        self.generation = generation
        self.head_us = self.arrived_us = 0
        self._newest = self._event = None
        for messages in self.messages.values():
            for message in messages.values():
                self._move_head(message)

    @property
    def is_empty(self) -> bool:
        """True if no message is left."""
        return not any(self.messages.values())

    def messages_since(self, from_us: int) -> dict[str, list[PageMessage]]:
        """Return what reaches into event times from `from_us` on, and the ongoing event, by kind in event-time order.

        Messages of one event time stay in the order of arrival: steps of an event, early before final predictions.
        """
        return {
            kind: sorted(
                (m for m in messages.values() if m.to_us >= from_us or self._is_ongoing(m)), key=lambda m: m.from_us
            )
            for kind, messages in self.messages.items()
        }

    def summary(self) -> Json:
        """Return what the list of sessions shows."""
        return {
            "id": self.session,
            "head_us": self.head_us,
            "heard_us": self.arrived_us,
            "counts": dict(self.counts),
            "answer": None if self._newest is None else dict(self._newest[2]),
            "event": None if self._event is None else dict(self._event),
        }

    def _is_ongoing(self, message: PageMessage) -> bool:
        facts = message.facts or {}
        return self._event is not None and message.kind == "event" and facts.get("id") == self._event["id"]

    def _move_head(self, message: PageMessage) -> None:
        if message.kind == "window":
            self.head_us = max(self.head_us, message.to_us)
        elif message.kind == "chunk" and message.facts is not None:
            arrived_us = message.facts["arrived_us"]
            self.arrived_us = max(self.arrived_us, arrived_us)
            # A device whose clock is ahead must not move the whole session into the future.
            self.head_us = max(self.head_us, min(message.to_us, arrived_us + CLOCK_AHEAD_US_MAX))

    def _summarize(self, message: PageMessage, facts: Mapping[str, Any]) -> None:
        if message.kind == "chunk":
            if self._hashes.get(facts["identity"]) == facts["sha256"]:
                self.counts["copy"] += 1
            self._hashes.setdefault(facts["identity"], facts["sha256"])
        elif message.kind == "prediction":
            order = message.from_us, facts["final"]
            if self._newest is None or order >= self._newest[:2]:
                self._newest = (*order, facts)
        elif message.kind == "event":
            if facts["lifecycle"] in ("end", "withdrawn"):
                ends = self._event is not None and self._event["id"] == facts["id"]
                # Only a final record ends an event that was confirmed.
                if ends and self._event is not None and (facts["final"] or not self._event["final"]):
                    self._event = None
            elif facts["final"] or self._event is None:
                self._event = facts


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """How much is held: sessions, bytes of messages, and the age of a message since it was read."""

    sessions_max: int
    bytes_max: int
    age_us_max: int


class SessionStore:
    """Session views by name, the one with the newest chunk last; the oldest messages are dropped first."""

    def __init__(self, limits: HistoryLimits) -> None:
        self.views: OrderedDict[str, SessionView] = OrderedDict()
        self.bytes = 0
        self._limits = limits
        self._order: deque[tuple[int, SessionView, PageMessage]] = deque()

    def add(self, message: PageMessage, now_us: int) -> bool:
        """Add a message; return False for one that is not to be shown.

        These are copies, what is about an older generation of its session, and idle records and ends of unknown sessions.
        """
        view = self.views.get(message.session)
        if view is None:
            if message.kind in ("tick", "end"):
                return False
            view = self.views[message.session] = SessionView(message.session, message.generation or 0)
        if message.generation is not None and not self._accept_generation(view, message):
            return False
        if not view.add(message):
            return False
        if message.kind == "chunk":
            self.views.move_to_end(message.session)
        self._order.append((now_us, view, message))
        self.bytes += message.size_bytes
        self.trim(now_us)
        return True

    def _accept_generation(self, view: SessionView, message: PageMessage) -> bool:
        """Return whether to show a message about a generation; the first one of a newer generation drops what is older.

        A wrong clock has put windows and media of the older generation into the future, where they would hide all that
        comes. The reset itself is not used: it is in a topic that devices write to.
        """
        generation = message.generation or 0
        if generation > view.generation:
            future_us = message.to_us + FUTURE_US

            def current(known: PageMessage) -> PageMessage | None:
                is_older = known.generation is not None and known.generation < generation
                return None if is_older or known.from_us > future_us else known

            self.rewrite(view.session, current)
            view.begin_generation(generation)
        return generation == view.generation

    def forget(self, session: str) -> None:
        """Drop a session."""
        self.rewrite(session, lambda _: None)
        self.views.pop(session, None)

    def rewrite(self, session: str, change: Callable[[PageMessage], PageMessage | None]) -> None:
        """Replace each message of a session by what `change` returns; None drops it."""
        order: deque[tuple[int, SessionView, PageMessage]] = deque()
        for read_us, view, message in self._order:
            changed = change(message) if message.session == session else message
            if changed is not None:
                order.append((read_us, view, changed))
            if changed is message:
                continue
            self.bytes += (0 if changed is None else changed.size_bytes) - message.size_bytes
            if changed is None:
                view.remove(message)
            else:
                view.replace(message, changed)
        self._order = order

    def trim(self, now_us: int) -> None:
        """Drop what exceeds the limits, and sessions that have no message left."""
        limits = self._limits
        while len(self.views) > limits.sessions_max:
            self.views.popitem(last=False)
        while self._order and (self.bytes > limits.bytes_max or self._order[0][0] <= now_us - limits.age_us_max):
            _, view, message = self._order.popleft()
            self.bytes -= message.size_bytes
            view.remove(message)
            if view.is_empty and self.views.get(view.session) is view:
                del self.views[view.session]
