"""The newest messages in order, for any number of readers, each at its own pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from services.gateway.messages import PageMessage

MESSAGES_MAX = 20_000
TURN_MAX = 500


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One message with its place; told None: what came before it is gone, read the sessions again."""

    id: str
    message: PageMessage | None


class EventStream:
    """A reader that falls behind by more than the ring holds is told so: nobody's slowness costs memory."""

    def __init__(self, boot: str, messages_max: int = MESSAGES_MAX) -> None:
        self._boot = boot
        self._messages: deque[PageMessage | None] = deque(maxlen=messages_max)
        self._next = 0
        self._more = asyncio.Event()
        self._ended = False

    def append(self, told: PageMessage) -> None:
        """Add a message; readers hear of it with the next `wake`. Whole records are not for them, and stay in rooms."""
        self._messages.append(told if told.full is None else replace(told, full=None))
        self._next += 1

    def rewrite(self, session: str, change: Callable[[PageMessage], PageMessage | None]) -> None:
        """Change what is kept of a session; None takes a message away."""
        for place, told in enumerate(self._messages):
            if told is not None and told.session == session:
                self._messages[place] = change(told)

    def wake(self) -> None:
        """Let waiting readers read."""
        self._more.set()
        self._more = asyncio.Event()

    def end(self) -> None:
        """Let every reader come to its end: there will be no more."""
        self._ended = True
        self.wake()

    @property
    def last_id(self) -> str:
        """The id of the newest message: who reads the sessions now goes on after it."""
        return self._id(self._next)

    async def read_after(
        self, last_id: str | None, wanted: Callable[[PageMessage], bool]
    ) -> AsyncIterator[StreamEntry]:
        """The wanted messages after an id (None: from now on), until the ring ends."""
        place = self._next if last_id is None else self._place(last_id)
        while not self._ended:
            oldest = self._next - len(self._messages)
            if place is None or place < oldest or place > self._next:
                place = self._next
                yield StreamEntry(self.last_id, None)
            more = self._more
            # A copy of a part: the ring goes on while the reader is served.
            part = [self._messages[n - oldest] for n in range(place, min(self._next, place + TURN_MAX))]
            for told in part:
                place += 1
                if told is not None and wanted(told):
                    yield StreamEntry(self._id(place), told)
            if place >= self._next:
                await more.wait()

    def _id(self, place: int) -> str:
        return f"{self._boot}.{place}"

    def _place(self, id: str) -> int | None:
        boot, _, number = id.rpartition(".")
        return int(number) if boot == self._boot and number.isascii() and number.isdigit() else None
