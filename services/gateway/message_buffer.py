"""The newest messages in order, for any number of readers, each at its own pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace

from services.gateway.messages import PageMessage

MESSAGES_MAX, BYTES_MAX = 20_000, 64 * 1024 * 1024
BATCH_MAX = 500


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """A message and its id; without a message, what came before is gone and the reader must load the sessions again."""

    id: str
    message: PageMessage | None


def _size(message: PageMessage | None) -> int:
    return 0 if message is None else message.size_bytes


class EventStream:
    """A ring buffer of messages; a reader that falls behind its length gets a reset, so slow readers cost no memory.

    Args:
        boot_id: Part of every id, so that ids of an earlier process lead to a reset.
        messages_max: Length of the buffer.
        bytes_max: Memory of its messages.

    `readers` is the number of clients that are served from it.
    """

    def __init__(self, boot_id: str, messages_max: int = MESSAGES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._boot_id, self._messages_max, self._bytes_max = boot_id, messages_max, bytes_max
        self._messages: deque[PageMessage | None] = deque()
        self._bytes = 0
        self._next = 0
        self._more = asyncio.Event()
        self._ended = False
        self.readers = 0

    def append(self, message: PageMessage) -> None:
        """Add a message, without its whole record; readers see it after the next `wake`."""
        message = message if message.full is None else replace(message, full=None)
        self._messages.append(message)
        self._bytes += message.size_bytes
        self._next += 1
        while len(self._messages) > self._messages_max or self._bytes > self._bytes_max:
            self._bytes -= _size(self._messages.popleft())

    def rewrite(self, session: str, change: Callable[[PageMessage], PageMessage | None]) -> None:
        """Replace each message of a session by what `change` returns; None removes it."""
        for index, message in enumerate(self._messages):
            if message is not None and message.session == session:
                changed = self._messages[index] = change(message)
                self._bytes += _size(changed) - message.size_bytes

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
