"""A fair queue of windows: each session waits for its own work and hardly for that of others. Pure.

Sessions take turns by the time that they used (start-time fair queueing): the next window is one of the session that used
least, and a session that used nothing lately starts level with the others. So a session with costly media, or with many
windows, only delays itself. A flood of new sessions could still have a turn each: sessions that are younger than NEW_US
share a fourth of the time while older ones wait.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import islice

from services.contract.window import Window

# A session is new for this span of event time after its first window.
NEW_US = 10_000_000
OLD, NEW = 0, 1
# How much faster the time of a class passes: old sessions get three times as much as new ones.
PACE = (1.0, 3.0)
# What a window costs its session until the time of its decoding is known.
WINDOW_US = 1_000.0
# Sessions that are remembered, those without a queued window included.
SESSIONS_MAX, FORGOTTEN_AT_ONCE = 50_000, 16


@dataclass(frozen=True, slots=True)
class QueuedWindow:
    """A window and where its record was read; due_us: when its prediction should be published (monotonic clock).

    prepared: True if its costly payloads were decoded already, so that it is not put off again.
    """

    partition: int
    offset: int
    appended_ms: int
    window: Window
    due_us: int
    prepared: bool = False


@dataclass(slots=True)
class SessionQueue:
    """The queued windows of one session, in order.

    Attributes:
        first_us: Start of its first window.
        used_us: The time it used, as its class counts it.
        kind: OLD or NEW.
        blocked: True while a window is being prepared; none of the session is taken then.
        turn: The newest entry of the session in the order of its class; older entries are void.
    """

    first_us: int
    used_us: float = 0.0
    kind: int = NEW
    blocked: bool = False
    turn: int = -1
    windows: deque[QueuedWindow] = field(default_factory=deque)


class FairQueue:
    """Queued windows by session; `select` takes them in fair order."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, SessionQueue] = OrderedDict()
        self._order: tuple[list[tuple[float, int, SessionQueue]], ...] = ([], [])
        self._turn = 0
        # By class: the time of its last turn, the time it used, and how many of its windows are queued.
        self._clock_us, self._class_us, self._counts = [0.0, 0.0], [0.0, 0.0], [0, 0]
        self._ready = [0, 0]

    def __len__(self) -> int:
        return sum(self._counts)

    @property
    def old_count(self) -> int:
        """How many windows of old sessions are queued."""
        return self._counts[OLD]

    @property
    def is_ready(self) -> bool:
        """True if a window can be taken: not all sessions are blocked."""
        return any(self._ready)

    def add(self, queued: QueuedWindow) -> None:
        """Add a window at the end of its session."""
        window = queued.window
        session = self._session(window)
        self._sessions.move_to_end(window.session)
        if session.kind == NEW and window.start_us - session.first_us >= NEW_US:
            self._become_old(session)
        session.windows.append(queued)
        self._counts[session.kind] += 1
        self._enter(session)

    def requeue(self, queued: Sequence[QueuedWindow]) -> None:
        """Put windows of one session that were taken back to its front, in order, and unblock it."""
        session = self._session(queued[0].window)
        session.windows.extendleft(reversed(queued))
        self._counts[session.kind] += len(queued)
        session.blocked = False
        self._enter(session)

    def block(self, queued: QueuedWindow) -> None:
        """Take no more window of this session until `requeue`."""
        session = self._session(queued.window)
        if session.turn >= 0:
            self._leave(session)
        session.blocked = True

    def charge(self, name: str, us: float) -> None:
        """Charge time to a session."""
        session = self._sessions.get(name)
        if session is not None:
            session.used_us += us
            self._class_us[session.kind] += us * PACE[session.kind]
            if session.turn >= 0:
                self._leave(session)
                self._enter(session)

    def select(
        self, size: int, is_useful: Callable[[QueuedWindow, bool], bool]
    ) -> tuple[list[QueuedWindow], list[QueuedWindow]]:
        """Take up to `size` useful windows in fair order; return them, and those passed over as not useful.

        is_useful: Called with each window and whether its session is old.
        """
        picked: list[QueuedWindow] = []
        skipped: list[QueuedWindow] = []
        while len(picked) < size and (session := self._next_session()) is not None:
            kind = session.kind
            self._clock_us[kind] = max(self._clock_us[kind], session.used_us)
            while session.windows:
                queued = session.windows.popleft()
                self._counts[kind] -= 1
                if is_useful(queued, kind == OLD):
                    picked.append(queued)
                    session.used_us += WINDOW_US
                    self._class_us[kind] += WINDOW_US * PACE[kind]
                    break
                skipped.append(queued)
            self._enter(session)
        return picked, skipped

    def undo(self, picked: Sequence[QueuedWindow], skipped: Sequence[QueuedWindow]) -> None:
        """Put back what the last `select` took."""
        for queued in picked:
            session = self._session(queued.window)
            session.used_us -= WINDOW_US
            self._class_us[session.kind] -= WINDOW_US * PACE[session.kind]
        back: dict[str, list[QueuedWindow]] = {}
        for queued in sorted((*picked, *skipped), key=lambda q: q.offset):
            back.setdefault(queued.window.session, []).append(queued)
        for windows in back.values():
            self.requeue(windows)

    def _next_session(self) -> SessionQueue | None:
        """Remove the session whose turn it is from the order of its class."""
        kinds = [kind for kind in (OLD, NEW) if self._ready[kind]]
        if not kinds:
            return None
        kind = min(kinds, key=lambda k: self._class_us[k])
        if len(kinds) == 1:
            # A class that waits for nobody saves no time up, and the other one loses none.
            other = 1 - kind
            self._class_us[other] = max(self._class_us[other], self._class_us[kind])
        while True:
            _, turn, session = heappop(self._order[kind])
            if turn == session.turn:
                self._leave(session)
                return session

    def _enter(self, session: SessionQueue) -> None:
        """Give a session with windows its turn in the order of its class."""
        if session.blocked or not session.windows or session.turn >= 0:
            return
        session.used_us = max(session.used_us, self._clock_us[session.kind])
        self._turn += 1
        session.turn = self._turn
        heappush(self._order[session.kind], (session.used_us, self._turn, session))
        self._ready[session.kind] += 1

    def _leave(self, session: SessionQueue) -> None:
        session.turn = -1
        self._ready[session.kind] -= 1

    def _become_old(self, session: SessionQueue) -> None:
        if session.turn >= 0:
            self._leave(session)
        for kind, sign in ((NEW, -1), (OLD, 1)):
            self._counts[kind] += sign * len(session.windows)
        session.kind, session.used_us = OLD, self._clock_us[OLD]
        self._enter(session)

    def _session(self, window: Window) -> SessionQueue:
        session = self._sessions.get(window.session)
        if session is None:
            session = self._sessions[window.session] = SessionQueue(window.start_us)
            if len(self._sessions) > SESSIONS_MAX:
                self._forget_idle()
        return session

    def _forget_idle(self) -> None:
        """Forget those of the sessions that were added to least recently that have no window."""
        for name in list(islice(self._sessions, FORGOTTEN_AT_ONCE)):
            session = self._sessions[name]
            if not session.windows and not session.blocked:
                del self._sessions[name]
            else:
                self._sessions.move_to_end(name)
