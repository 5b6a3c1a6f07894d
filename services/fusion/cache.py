"""A cache with a bound in bytes: what was used longest ago goes first. Pure."""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import Any, Generic, TypeVar

Key = tuple[Any, ...]
V = TypeVar("V")


class ByteLimitedCache(Generic[V]):
    """Values by key, each with the bytes that it counts for; a key is a tuple of its modality and more."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._entries: OrderedDict[Key, tuple[V, int]] = OrderedDict()
        self.bytes = 0
        self.evicted: Counter[str] = Counter()

    def get(self, key: Key) -> V | None:
        """The value, and a note that it was used."""
        found = self._entries.get(key)
        if found is None:
            return None
        self._entries.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: V, size: int) -> None:
        """Keep a value; what no longer fits goes."""
        if key in self._entries:
            return
        self._entries[key] = (value, size)
        self.bytes += size
        while self.bytes > self._bytes_max and self._entries:
            (modality, *_), (_, freed) = self._entries.popitem(last=False)
            self.bytes -= freed
            self.evicted[modality] += 1
