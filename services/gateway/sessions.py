"""One session as the page sees it: what is kept of it, and its summary. Pure.

All sessions that the page can show, inside bounds of number, age and bytes. Pure: time comes in as an argument.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.gateway.messages import KINDS, PageMessage

Json = dict[str, Any]
AHEAD_US = 1_000_000


class SessionView:
    """What is kept of a session, by kind and key; `head_us` is the newest event time of a chunk or window."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.kept: dict[str, dict[str, PageMessage]] = {kind: {} for kind in KINDS}
        self.head_us = self.arrived_us = 0
        self.counts = {"chunk": 0, "late": 0, "dead": 0, "copy": 0}
        self._answer: tuple[int, bool, Mapping[str, Any]] | None = None
        self._event: Mapping[str, Any] | None = None
        self._identities: dict[object, str] = {}

    def add(self, told: PageMessage) -> bool:
        """Keep it; False where it is known already (topics hold records twice after a crash)."""
        known = self.kept[told.kind].get(told.key)
        if known is not None and known.raw == told.raw:
            return False
        self.kept[told.kind][told.key] = told
        if told.kind in self.counts:
            self.counts[told.kind] += 1
        if told.kind == "window":
            self.head_us = max(self.head_us, told.to_us)
        if told.facts is not None:
            self._note(told, told.facts)
        return True

    def remove(self, told: PageMessage) -> None:
        """Forget it, unless another record took its place."""
        if self.kept[told.kind].get(told.key) is told:
            del self.kept[told.kind][told.key]
            if told.kind == "chunk" and told.facts is not None:
                self._identities.pop(told.facts["identity"], None)

    def replace(self, told: PageMessage, to: PageMessage) -> None:
        """Let a record of the same key take its place."""
        if self.kept[told.kind].get(told.key) is told:
            self.kept[told.kind][told.key] = to

    @property
    def is_empty(self) -> bool:
        return not any(self.kept.values())

    def is_duplicate(self, told: PageMessage) -> bool:
        """True for a chunk of an identity that is known from another position, with the same bytes."""
        facts = told.facts or {}
        return bool(self._identities.get(facts["identity"]) == facts["sha256"])

    def messages_since(self, from_us: int) -> dict[str, list[PageMessage]]:
        """What is about event times from from_us on and the event that goes on, by kind, in order of event time.

        Of one event time in the order in which it was read: the steps of an event, an early answer and its final one.
        """
        return {
            kind: sorted(
                (t for t in messages.values() if t.to_us >= from_us or self._goes_on(t)), key=lambda t: t.from_us
            )
            for kind, messages in self.kept.items()
        }

    def summary(self) -> Json:
        """What the list of sessions shows."""
        answer = self._answer[2] if self._answer else {}
        return {
            "id": self.session,
            "head_us": self.head_us,
            "heard_us": self.arrived_us,
            "counts": dict(self.counts),
            "answer": {name: answer[name] for name in answer} or None,
            "event": None if self._event is None else dict(self._event),
        }

    def _goes_on(self, told: PageMessage) -> bool:
        return self._event is not None and told.kind == "event" and (told.facts or {}).get("id") == self._event["id"]

    def _note(self, told: PageMessage, facts: Mapping[str, Any]) -> None:
        if told.kind == "chunk":
            self.arrived_us = max(self.arrived_us, facts["arrived_us"])
            # A clock that runs ahead must not carry the session away.
            self.head_us = max(self.head_us, min(told.to_us, facts["arrived_us"] + AHEAD_US))
            if self.is_duplicate(told):
                self.counts["copy"] += 1
            self._identities.setdefault(facts["identity"], facts["sha256"])
        elif told.kind == "prediction":
            order = told.from_us, facts["final"]
            if self._answer is None or order >= self._answer[:2]:
                self._answer = (*order, facts)
        elif told.kind == "event" and (facts["final"] or self._event is None):
            ended = facts["lifecycle"] == "end"
            if not ended:
                self._event = facts
            elif self._event is not None and self._event["id"] == facts["id"]:
                self._event = None


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """How much is kept: sessions, bytes of records, and for how long after they were read (us)."""

    sessions_max: int
    bytes_max: int
    age_us_max: int


class SessionStore:
    """Sessions by name, the one that was heard last at the end; what was read first is forgotten first."""

    def __init__(self, bounds: HistoryLimits) -> None:
        self.views: OrderedDict[str, SessionView] = OrderedDict()
        self.bytes = 0
        self._bounds = bounds
        self._order: deque[tuple[int, SessionView, PageMessage]] = deque()

    def add(self, told: PageMessage, now_us: int) -> bool:
        """Keep a record; False where it is a copy of one that is kept, or about silence of a session never heard."""
        room = self.views.get(told.session)
        if room is None:
            if told.kind in ("tick", "end"):
                return False
            room = self.views[told.session] = SessionView(told.session)
        if not room.add(told):
            return False
        if told.kind == "chunk":
            self.views.move_to_end(told.session)
        self._order.append((now_us, room, told))
        self.bytes += told.size_bytes
        self.trim(now_us)
        return True

    def forget(self, session: str) -> None:
        """Let go of all that is kept of a session."""
        self.rewrite(session, lambda _: None)
        self.views.pop(session, None)

    def rewrite(self, session: str, change: Callable[[PageMessage], PageMessage | None]) -> None:
        """Change what is kept of a session; None takes a record away."""
        left: deque[tuple[int, SessionView, PageMessage]] = deque()
        for read_us, room, told in self._order:
            now = change(told) if told.session == session else told
            if now is not None:
                left.append((read_us, room, now))
            if now is told:
                continue
            self.bytes += (0 if now is None else now.size_bytes) - told.size_bytes
            if now is None:
                room.remove(told)
            else:
                room.replace(told, now)
        self._order = left

    def trim(self, now_us: int) -> None:
        """Forget what is beyond the bounds; a session of which nothing is left is gone."""
        while len(self.views) > self._bounds.sessions_max:
            self.views.popitem(last=False)
        while self._order and (
            self.bytes > self._bounds.bytes_max or self._order[0][0] <= now_us - self._bounds.age_us_max
        ):
            _, room, told = self._order.popleft()
            self.bytes -= told.size_bytes
            room.remove(told)
            if room.is_empty and self.views.get(room.session) is room:
                del self.views[room.session]
