"""The floor of one log: the offset below which nothing is needed again."""

from __future__ import annotations

from collections import deque


class RetainedOffsets:
    """Offsets of one log that open windows or ticks still need; offsets come in rising order.

    The floor is the smallest held offset, so that a commit never skips one: Faust's own rule acknowledges past a gap.
    """

    __slots__ = ("_order", "_uses")

    def __init__(self) -> None:
        self._order: deque[tuple[int, int]] = deque()
        self._uses: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._uses)

    def retain(self, offset: int, appended_us: int) -> None:
        """Need an offset once more; each need is released on its own."""
        if offset not in self._uses:
            self._order.append((offset, appended_us))
            self._uses[offset] = 0
        self._uses[offset] += 1

    def release(self, offset: int) -> None:
        """Take one need back. Raises KeyError for an offset that is not held."""
        self._uses[offset] -= 1
        if not self._uses[offset]:
            del self._uses[offset]

    def first(self) -> tuple[int, int] | None:
        """(offset, append time in us) of the smallest held offset, None where nothing is held."""
        while self._order and self._order[0][0] not in self._uses:
            self._order.popleft()
        return self._order[0] if self._order else None

    def commit_offset(self, position: int) -> int:
        """Where a restart must begin to read; `position` is the next offset that was not handed over yet."""
        first = self.first()
        return position if first is None else first[0]
