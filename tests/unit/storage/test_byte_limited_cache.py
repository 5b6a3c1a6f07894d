"""The cache respects its limit and counts evictions by modality."""

from __future__ import annotations

from services.storage.byte_limited_cache import ByteLimitedCache


def test_the_least_recently_used_entry_is_evicted_and_counted_for_its_modality() -> None:
    cache: ByteLimitedCache[str] = ByteLimitedCache(100)
    cache.put(("video", "a"), "a", 40)
    cache.put(("audio", "b"), "b", 40)
    assert cache.get(("video", "a")) == "a"
    cache.put(("video", "c"), "c", 40)
    assert cache.get(("audio", "b")) is None
    assert cache.get(("video", "a")) == "a"
    assert cache.bytes == 80
    assert dict(cache.evicted) == {"audio": 1}
    assert cache.get_many([("video", "a"), ("audio", "b")]) == ["a", None]
    cache.put(("video", "d"), "d", 40)
    assert cache.get_many([("video", "a"), ("video", "c")]) == ["a", None]


def test_a_value_larger_than_the_limit_empties_the_cache() -> None:
    cache: ByteLimitedCache[str] = ByteLimitedCache(100)
    cache.put(("audio", "a"), "a", 60)
    cache.put(("video", "film"), "film", 101)
    assert cache.bytes == 0
    assert dict(cache.evicted) == {"audio": 1, "video": 1}
