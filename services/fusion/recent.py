"""What was met lately: a set of bounded size that forgets the oldest half at once. Pure."""

from __future__ import annotations

from collections.abc import Hashable


class Recent:
    """Remembers the last `least` keys or more, at most twice as many; by their hash, so that it keeps none of them."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._new: set[int] = set()
        self._old: set[int] = set()

    def met(self, key: Hashable) -> bool:
        """Whether this key was met before; from now on it was."""
        name = hash(key)
        if name in self._new:
            return True
        if len(self._new) >= self._least:
            self._old, self._new = self._new, set()
        self._new.add(name)
        return name in self._old
