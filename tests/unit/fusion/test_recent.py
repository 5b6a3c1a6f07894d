"""What was met lately is known again; older half by half is forgotten."""

from __future__ import annotations

from services.fusion.inference import Recent


def test_a_key_is_met_for_the_first_time_once() -> None:
    recent = Recent(10)
    assert [recent.met(("text", n)) for n in (1, 2, 1, 2)] == [False, False, True, True]


def test_the_last_so_many_are_remembered_and_never_twice_as_many_and_more() -> None:
    recent = Recent(10)
    for n in range(1_000):
        assert not recent.met(n)
        assert all(recent.met(earlier) for earlier in range(max(n - 9, 0), n + 1))
    assert not recent.met(900)
