"""What inference remembers: values up to a number of bytes, and which keys it met lately. Pure."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

Key = tuple[Any, ...]
V = TypeVar("V")


class ByteLimitedCache(Generic[V]):
    """A least-recently-used cache with a limit in bytes; a key is a tuple that begins with its modality."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._entries: OrderedDict[Key, tuple[V, int]] = OrderedDict()
        self.bytes = 0
        self.evicted: Counter[str] = Counter()

    def get(self, key: Key) -> V | None:
        """Return the value, and mark it as used."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: Key, value: V, size: int) -> None:
        """Store a value that counts for `size` bytes, and evict what no longer fits."""
        if key in self._entries:
            return
        self._entries[key] = (value, size)
        self.bytes += size
        while self.bytes > self._bytes_max and self._entries:
            (modality, *_), (_, freed) = self._entries.popitem(last=False)
            self.bytes -= freed
            self.evicted[modality] += 1


class RecentKeys:
    """The hashes of at least the last `least` keys, at most of twice as many; the older half is dropped at once."""

    def __init__(self, least: int) -> None:
        self._least = least
        self._new: set[int] = set()
        self._old: set[int] = set()

    def add(self, key: Hashable) -> bool:
        """Remember a key; return whether it was known."""
        digest = hash(key)
        if digest in self._new:
            return True
        if len(self._new) >= self._least:
            self._old, self._new = self._new, set()
        self._new.add(digest)
        return digest in self._old
