"""All sessions that the page can show, inside bounds of number, age and bytes. Pure: time comes in as an argument."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from services.gateway.room import Room
from services.gateway.told import Told


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: sessions, bytes of records, and for how long after they were read (us)."""

    sessions_max: int
    bytes_max: int
    kept_us: int


class Rooms:
    """Sessions by name, the one that was heard last at the end; what was read first is forgotten first."""

    def __init__(self, bounds: Bounds) -> None:
        self.rooms: OrderedDict[str, Room] = OrderedDict()
        self.bytes = 0
        self._bounds = bounds
        self._order: deque[tuple[int, Room, Told]] = deque()

    def put(self, told: Told, now_us: int) -> bool:
        """Keep a record; False where it is a copy of one that is kept, or about silence of a session never heard."""
        room = self.rooms.get(told.session)
        if room is None:
            if told.kind in ("tick", "end"):
                return False
            room = self.rooms[told.session] = Room(told.session)
        if not room.put(told):
            return False
        if told.kind == "chunk":
            self.rooms.move_to_end(told.session)
        self._order.append((now_us, room, told))
        self.bytes += told.size_bytes
        self.trim(now_us)
        return True

    def forget(self, session: str) -> None:
        """Let go of all that is kept of a session."""
        self.rewrite(session, lambda _: None)
        self.rooms.pop(session, None)

    def rewrite(self, session: str, change: Callable[[Told], Told | None]) -> None:
        """Change what is kept of a session; None takes a record away."""
        left: deque[tuple[int, Room, Told]] = deque()
        for read_us, room, told in self._order:
            now = change(told) if told.session == session else told
            if now is not None:
                left.append((read_us, room, now))
            if now is told:
                continue
            self.bytes += (0 if now is None else now.size_bytes) - told.size_bytes
            if now is None:
                room.drop(told)
            else:
                room.change(told, now)
        self._order = left

    def trim(self, now_us: int) -> None:
        """Forget what is beyond the bounds; a session of which nothing is left is gone."""
        while len(self.rooms) > self._bounds.sessions_max:
            self.rooms.popitem(last=False)
        while self._order and (
            self.bytes > self._bounds.bytes_max or self._order[0][0] <= now_us - self._bounds.kept_us
        ):
            _, room, told = self._order.popleft()
            self.bytes -= told.size_bytes
            room.drop(told)
            if room.empty and self.rooms.get(room.session) is room:
                del self.rooms[room.session]
