"""The offsets of a log that are still needed; the smallest of them is the commit offset."""

from __future__ import annotations

from collections import deque


class RetainedOffsets:
    """Offsets of one log that open windows or idle records still need; they come in rising order.

    The smallest retained offset is the commit offset, so that a commit never skips one (Faust's own rule does). A pane
    retains the offset of its first chunk, which is its smallest.

    Attributes:
        further: The number of the other chunks in panes.
    """

    __slots__ = ("_order", "_uses", "further")

    def __init__(self) -> None:
        self._order: deque[tuple[int, int]] = deque()
        self._uses: dict[int, int] = {}
        self.further = 0

    def __len__(self) -> int:
        return len(self._uses) + self.further

    def retain(self, offset: int, appended_us: int) -> None:
        """Retain an offset once more; each use is released on its own."""
        if offset not in self._uses:
            self._order.append((offset, appended_us))
            self._uses[offset] = 0
        self._uses[offset] += 1

    def release(self, offset: int) -> None:
        """Release one use of an offset. Raises KeyError if it is not retained."""
        self._uses[offset] -= 1
        if not self._uses[offset]:
            del self._uses[offset]

    def first(self) -> tuple[int, int] | None:
        """Return offset and append time (us) of the smallest retained offset, None if there is none."""
        while self._order and self._order[0][0] not in self._uses:
            self._order.popleft()
        return self._order[0] if self._order else None

    def commit_offset(self, position: int) -> int:
        """Return where a restart must read on; `position` is the offset of the next record to process."""
        first = self.first()
        return position if first is None else first[0]
