"""A cache with a limit in bytes."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

CacheKey = tuple[Any, ...]
V = TypeVar("V")


class ByteLimitedCache(Generic[V]):
    """A least-recently-used cache with a limit in bytes.

    A key is a tuple; evictions are counted by what it begins with: a modality or a topic.
    """

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        # Costly payloads are decoded in a thread of their own.
        self._lock = threading.Lock()
        self._entries: OrderedDict[CacheKey, tuple[V, int]] = OrderedDict()
        self.bytes = 0
        self.evicted: Counter[str] = Counter()

    def get(self, key: CacheKey) -> V | None:
        """Return the value, and mark it as used."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def get_many(self, keys: Sequence[CacheKey]) -> list[V | None]:
        """Return the value of each key, None for those that are not there, and mark them as used."""
        with self._lock:
            known, use = self._entries.get, self._entries.move_to_end
            values: list[V | None] = []
            for key in keys:
                entry = known(key)
                if entry is None:
                    values.append(None)
                else:
                    use(key)
                    values.append(entry[0])
            return values

    def put(self, key: CacheKey, value: V, size: int) -> None:
        """Store a value that counts for `size` bytes, and evict what no longer fits."""
        with self._lock:
            if key in self._entries:
                return
            self._entries[key] = (value, size)
            self.bytes += size
            while self.bytes > self._bytes_max and self._entries:
                (group, *_), (_, freed) = self._entries.popitem(last=False)
                self.bytes -= freed
                self.evicted[group] += 1

    def clear(self) -> None:
        """Forget all values."""
        with self._lock:
            self._entries.clear()
            self.bytes = 0
