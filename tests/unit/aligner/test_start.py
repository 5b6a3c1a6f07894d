"""Where a new owner goes on: what the frontier records and the tail of the windows topic say together."""

from __future__ import annotations

from services.aligner.partition import FrontierCoverage
from services.aligner.recovery import initial_state
from services.contract.last_emitted_window import Frontier
from services.contract.window import Window


def window(start: int, config: str = "ours", session: str = "s") -> Window:
    return Window(session, start, start + 10, None, True, config, {}, 0, 0)


# append time  30: w5    20: w7 (the broker's clock went back)    40: w6, a zombie's
def test_a_new_owner_goes_on_after_the_newest_window_and_what_is_told_nowhere_counts_from_the_oldest() -> None:
    start = initial_state({}, [], [(30, window(5)), (20, window(7)), (40, window(6))], "ours")
    assert start.last_emitted_us == {"s": 7}
    assert start.uncovered == {"s": 20}


def test_windows_that_a_frontier_record_tells_need_no_other_one() -> None:
    told = [(b"k", Frontier("s", 6, "ours"))]
    assert initial_state({}, told, [(10, window(5)), (20, window(6))], "ours").uncovered == {}
    beyond = initial_state({}, told, [(10, window(5)), (20, window(6)), (30, window(7))], "ours")
    assert beyond.uncovered == {"s": 30}
    assert beyond.last_emitted_us == {"s": 7}


def test_a_record_that_went_further_than_the_tail_counts() -> None:
    start = initial_state({}, [(b"k", Frontier("s", 9, "ours"))], [(10, window(5))], "ours")
    assert (start.last_emitted_us, start.uncovered) == ({"s": 9}, {})


def test_after_a_change_of_settings_the_windows_of_the_old_ones_are_read_over() -> None:
    told = [(b"k", Frontier("s", 5, "ours"))]
    tail = [(10, window(5, "old")), (20, window(6)), (30, window(1, session="other"))]
    start = initial_state({"audio": 3}, told, tail, "ours")
    assert start.positions == {"audio": 3}
    assert start.last_emitted_us == {"s": 6, "other": 1}
    assert start.uncovered == {"s": 20, "other": 30}


def test_a_forgotten_session_needs_neither_record_nor_keys() -> None:
    coverage = FrontierCoverage(tail_us=1, uncovered={"s": 5, "t": 5}, old_keys={"s": [(b"k", 5)], "t": [(b"l", 5)]})
    coverage.on_session_forgotten("s")
    assert coverage.due_sessions([]) == ["t"]
    assert coverage.old_keys == {"t": [(b"l", 5)]}
    coverage.on_session_forgotten("never seen")


def test_of_a_covered_session_nothing_is_kept_but_keys_that_say_more() -> None:
    coverage = FrontierCoverage(tail_us=1, uncovered={"s": 5}, old_keys={"s": [(b"low", 5), (b"high", 9)]})
    coverage.on_frontier_acknowledged("s", 5)
    assert (coverage.uncovered, coverage.old_keys) == ({}, {"s": [(b"high", 9)]})
    coverage.on_frontier_acknowledged("s", 9)
    assert coverage.old_keys == {}
