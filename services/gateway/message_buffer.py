"""The newest messages in order, for any number of readers, each at its own pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from services.gateway.messages import PageMessage

MESSAGES_MAX = 20_000
BATCH_MAX = 500


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """A message and its id; without a message, what came before is gone and the reader must load the sessions again."""

    id: str
    message: PageMessage | None


class EventStream:
    """A ring buffer of messages; a reader that falls behind its length gets a reset, so slow readers cost no memory.

    Args:
        boot_id: Part of every id, so that ids of an earlier process lead to a reset.
        messages_max: Length of the buffer.
    """

    def __init__(self, boot_id: str, messages_max: int = MESSAGES_MAX) -> None:
        self._boot_id = boot_id
        self._messages: deque[PageMessage | None] = deque(maxlen=messages_max)
        self._next = 0
        self._more = asyncio.Event()
        self._ended = False

    def append(self, message: PageMessage) -> None:
        """Add a message, without its whole record; readers see it after the next `wake`."""
        self._messages.append(message if message.full is None else replace(message, full=None))
        self._next += 1

    def rewrite(self, session: str, change: Callable[[PageMessage], PageMessage | None]) -> None:
        """Replace each message of a session by what `change` returns; None removes it."""
        for index, message in enumerate(self._messages):
            if message is not None and message.session == session:
                self._messages[index] = change(message)

    def wake(self) -> None:
        """Let waiting readers read."""
        self._more.set()
        self._more = asyncio.Event()

    def end(self) -> None:
        """End every reader."""
        self._ended = True
        self.wake()

    @property
    def last_id(self) -> str:
        """The id after which a reader continues that loads the sessions now."""
        return self._id(self._next)

    async def read_after(
        self, last_id: str | None, is_wanted: Callable[[PageMessage], bool]
    ) -> AsyncIterator[StreamEntry]:
        """Yield the wanted messages after an id (None: from now on) until `end` is called."""
        position = self._next if last_id is None else self._position(last_id)
        while not self._ended:
            oldest = self._next - len(self._messages)
            if position is None or position < oldest or position > self._next:
                position = self._next
                yield StreamEntry(self.last_id, None)
            more = self._more
            # A copy, because the buffer moves on while the reader is served.
            batch = [self._messages[n - oldest] for n in range(position, min(self._next, position + BATCH_MAX))]
            for message in batch:
                position += 1
                if message is not None and is_wanted(message):
                    yield StreamEntry(self._id(position), message)
            if position >= self._next:
                await more.wait()

    def _id(self, position: int) -> str:
        return f"{self._boot_id}.{position}"

    def _position(self, id: str) -> int | None:
        boot_id, _, number = id.rpartition(".")
        return int(number) if boot_id == self._boot_id and number.isascii() and number.isdigit() else None
