"""Recent keys are remembered; older ones are forgotten by halves."""

from __future__ import annotations

from services.fusion.inference import RecentKeys


def test_a_key_is_new_once() -> None:
    recent = RecentKeys(10)
    assert [recent.add(("text", n)) for n in (1, 2, 1, 2)] == [False, False, True, True]


def test_between_one_and_two_times_the_limit_of_keys_is_remembered() -> None:
    recent = RecentKeys(10)
    for n in range(1_000):
        assert not recent.add(n)
        assert all(recent.add(earlier) for earlier in range(max(n - 9, 0), n + 1))
    assert not recent.add(900)
