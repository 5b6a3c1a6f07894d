"""Where a new owner continues, from frontier records and the end of the windows topic."""

from __future__ import annotations

from services.aligner.partition import FrontierCoverage
from services.aligner.recovery import initial_state
from services.contract.last_emitted_window import LastEmittedWindow
from services.contract.window import Window


def window(start: int, config: str = "current", session: str = "s") -> Window:
    return Window(session, start, start + 10, None, True, config, {}, 0, 0)


# append time  30: w5    20: w7 (the broker's clock went back)    40: w6, a zombie's
def test_new_owner_continues_after_the_newest_window_and_counts_uncovered_from_the_oldest() -> None:
    start = initial_state({}, [], [(30, window(5)), (20, window(7)), (40, window(6))], "current")
    assert start.last_emitted_us == {"s": 7}
    assert start.uncovered == {"s": 20}


def test_window_with_a_frontier_record_needs_no_other_one() -> None:
    frontiers = [(b"k", LastEmittedWindow("s", 6, "current"))]
    assert initial_state({}, frontiers, [(10, window(5)), (20, window(6))], "current").uncovered == {}
    beyond = initial_state({}, frontiers, [(10, window(5)), (20, window(6)), (30, window(7))], "current")
    assert beyond.uncovered == {"s": 30}
    assert beyond.last_emitted_us == {"s": 7}


def test_frontier_record_beyond_the_tail_counts() -> None:
    start = initial_state({}, [(b"k", LastEmittedWindow("s", 9, "current"))], [(10, window(5))], "current")
    assert (start.last_emitted_us, start.uncovered) == ({"s": 9}, {})


def test_windows_of_migrated_settings_are_ignored() -> None:
    frontiers = [(b"k", LastEmittedWindow("s", 5, "current"))]
    tail = [(10, window(5, "old")), (20, window(6)), (30, window(1, session="other"))]
    start = initial_state({"audio": 3}, frontiers, tail, "current")
    assert start.positions == {"audio": 3}
    assert start.last_emitted_us == {"s": 6, "other": 1}
    assert start.uncovered == {"s": 20, "other": 30}


def test_forgotten_session_needs_no_record_and_no_keys() -> None:
    coverage = FrontierCoverage(tail_us=1, uncovered={"s": 5, "t": 5}, old_keys={"s": [(b"k", 5)], "t": [(b"l", 5)]})
    coverage.on_session_forgotten("s")
    assert coverage.due_sessions([]) == ["t"]
    assert coverage.old_keys == {"t": [(b"l", 5)]}
    coverage.on_session_forgotten("never seen")


def test_covered_session_keeps_only_keys_that_are_further() -> None:
    coverage = FrontierCoverage(tail_us=1, uncovered={"s": 5}, old_keys={"s": [(b"low", 5), (b"high", 9)]})
    coverage.on_frontier_acknowledged("s", 5)
    assert (coverage.uncovered, coverage.old_keys) == ({}, {"s": [(b"high", 9)]})
    coverage.on_frontier_acknowledged("s", 9)
    assert coverage.old_keys == {}
