"""What was met lately is known again; older half by half is forgotten."""

from __future__ import annotations

from services.fusion.inference import RecentKeys


def test_a_key_is_met_for_the_first_time_once() -> None:
    recent = RecentKeys(10)
    assert [recent.add(("text", n)) for n in (1, 2, 1, 2)] == [False, False, True, True]


def test_the_last_so_many_are_remembered_and_never_twice_as_many_and_more() -> None:
    recent = RecentKeys(10)
    for n in range(1_000):
        assert not recent.add(n)
        assert all(recent.add(earlier) for earlier in range(max(n - 9, 0), n + 1))
    assert not recent.add(900)
