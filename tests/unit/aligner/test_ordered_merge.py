"""Logs of one partition number are merged by append time; frontiers are covered before commits."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import merge
from itertools import takewhile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.aligner.ordered_merge import LogMerger
from services.aligner.partition import FrontierCoverage
from services.aligner.recovery import SettingsMismatchError, initial_state
from services.aligner.retained_offsets import RetainedOffsets
from services.contract.last_emitted_window import LastEmittedWindow
from services.contract.window import Window


@dataclass(frozen=True)
class R:
    """A record of one byte."""

    offset: int
    timestamp: int
    key: bytes | None = b"k"
    value: bytes | None = b"x"
    headers: tuple[tuple[str, bytes], ...] = ()


def fetch(queue: LogMerger, modality: str, records: list[R]) -> None:
    """Queue records as a consumer does that has read nothing behind them."""
    queue.add(modality, records)
    queue.set_positions({modality: records[-1].offset + 1})


def taken(queue: LogMerger, **ends: int | None) -> list[tuple[str, int]]:
    return [(modality, record.offset) for modality, record in queue.release({"a": 0, "b": 0} | ends)]


def test_log_waits_for_one_that_is_behind() -> None:
    queue = LogMerger({"a": 0, "b": 0}, skew_ms=100, records_max=10, bytes_max=100)
    fetch(queue, "a", [R(0, 1_000), R(1, 5_000)])
    fetch(queue, "b", [R(0, 900), R(1, 4_000)])
    assert taken(queue, a=2, b=9) == [("b", 0), ("a", 0)]
    assert taken(queue, a=2, b=9) == [("b", 1)]
    assert taken(queue, a=2, b=9) == [], "the next record of b may be older than what waits in a"
    assert taken(queue, a=2, b=2) == [("a", 1)]


def test_log_with_an_unknown_end_holds_the_others_back() -> None:
    queue = LogMerger({"a": 0, "b": 7}, skew_ms=100, records_max=10, bytes_max=100)
    fetch(queue, "a", [R(0, 1)])
    assert taken(queue, a=1, b=None) == []
    assert taken(queue, a=1, b=7) == [("a", 0)]


def test_each_log_keeps_its_order_if_the_broker_clock_goes_back() -> None:
    queue = LogMerger({"a": 0, "b": 0}, skew_ms=1_000, records_max=10, bytes_max=100)
    fetch(queue, "a", [R(0, 500), R(1, 100), R(2, 600)])
    assert taken(queue, a=3) == [("a", 0), ("a", 1), ("a", 2)]


STAMPS = st.lists(st.integers(0, 9), min_size=1, max_size=8)


@given(STAMPS, STAMPS, STAMPS, st.integers(0, 12))
@example([1], [0, 2], [5], 12)  # the next head, not the last one, ends what b may give
@example([3, 3], [0, 3], [3], 12)  # and of heads at one time the first log's goes before all others
def test_logs_are_merged_by_the_append_time_of_their_next_records(
    a: list[int], b: list[int], c: list[int], skew: int
) -> None:
    stamps_of = {"a": a, "b": b, "c": c}
    queue = LogMerger(dict.fromkeys(stamps_of, 0), skew_ms=skew, records_max=10, bytes_max=100)
    for modality, stamps in stamps_of.items():
        fetch(queue, modality, [R(n, stamp) for n, stamp in enumerate(stamps)])
    limit = min(stamps[0] for stamps in stamps_of.values()) + skew
    logs = [
        [(modality, n, stamp) for n, stamp in enumerate(takewhile(lambda stamp: stamp <= limit, stamps))]
        for modality, stamps in stamps_of.items()
    ]
    expected = [(modality, n) for modality, n, _ in merge(*logs, key=lambda one: one[2])]
    assert taken(queue, **{modality: len(stamps) for modality, stamps in stamps_of.items()}) == expected


def test_full_queue_is_paused_unless_it_is_the_slowest() -> None:
    queue = LogMerger({"a": 0, "b": 0}, skew_ms=10, records_max=2, bytes_max=100)
    fetch(queue, "a", [R(n, 1_000 + n) for n in range(5)])
    fetch(queue, "b", [R(n, n) for n in range(5)])
    assert queue.paused_modalities() == {"a"}


# a: offset 0 taken, 1 not fetched yet, end 2
def test_log_one_record_before_its_end_holds_the_others_back() -> None:
    queue = LogMerger({"a": 0, "b": 0}, skew_ms=0, records_max=10, bytes_max=100)
    fetch(queue, "a", [R(0, 10)])
    fetch(queue, "b", [R(0, 11)])
    assert taken(queue, a=2, b=1) == [("a", 0)]
    assert taken(queue, a=2, b=1) == []
    fetch(queue, "a", [R(1, 12)])
    assert taken(queue, a=2, b=1) == [("b", 0)]


# a: 0 marker            b: 0     the position passes the marker, which takes an offset and is no record
def test_log_is_at_its_end_behind_a_marker_of_a_transaction() -> None:
    queue = LogMerger({"a": 0, "b": 0}, skew_ms=0, records_max=10, bytes_max=100)
    fetch(queue, "a", [R(0, 10)])
    fetch(queue, "b", [R(0, 11)])
    assert taken(queue, a=2, b=1) == [("a", 0)]
    assert taken(queue, a=2, b=1) == [], "offset 1 may be a record"
    assert queue.has_more({"a": 2, "b": 1})
    queue.set_positions({"a": 2})
    assert taken(queue, a=2, b=1) == [("b", 0)]
    assert not queue.has_more({"a": 2, "b": 1})


# a: deleted ... 7 compacted 9          the next offset is that of a record that waits, or the position
def test_next_offsets_pass_deleted_records_and_stop_at_the_first_queued_record() -> None:
    queue = LogMerger({"a": 0, "b": 0}, skew_ms=0, records_max=10, bytes_max=100)
    queue.set_positions({"a": 7})
    assert queue.next_offsets() == {"a": 7, "b": 0}
    fetch(queue, "a", [R(7, 10), R(9, 20)])
    assert queue.next_offsets() == {"a": 7, "b": 0}
    assert taken(queue, a=12) == [("a", 7)]
    assert queue.next_offsets() == {"a": 9, "b": 0}
    queue.set_positions({"a": 12})
    assert taken(queue, a=12) == [("a", 9)]
    assert queue.next_offsets() == {"a": 12, "b": 0}


def test_queue_is_full_above_its_byte_limit_until_records_are_released() -> None:
    queue = LogMerger({"a": 0, "b": 0}, skew_ms=10, records_max=100, bytes_max=4)
    fetch(queue, "b", [R(0, 0, value=None), R(1, 500)])
    fetch(queue, "a", [R(0, 5), R(1, 1_000, value=b"xx"), R(2, 1_000)])
    assert queue.paused_modalities() == set()
    fetch(queue, "a", [R(3, 1_000)])
    assert queue.paused_modalities() == {"a"}
    assert taken(queue, a=4, b=9) == [("b", 0), ("a", 0)]
    assert queue.paused_modalities() == set()
    fetch(queue, "a", [R(4, 1_000)])
    assert queue.paused_modalities() == {"a"}


def test_queue_at_its_record_limit_is_not_full() -> None:
    queue = LogMerger({"a": 0, "b": 0}, skew_ms=10, records_max=2, bytes_max=100)
    fetch(queue, "b", [R(0, 0)])
    fetch(queue, "a", [R(0, 1), R(1, 1)])
    assert queue.paused_modalities() == set()
    fetch(queue, "a", [R(2, 1)])
    assert queue.paused_modalities() == {"a"}


# a: 10 1 1 (the broker's clock went back)     b: 5
def test_slowest_log_is_the_one_with_the_oldest_head() -> None:
    queue = LogMerger({"a": 0, "b": 0, "c": 0}, skew_ms=100, records_max=2, bytes_max=100)
    assert queue.paused_modalities() == set()
    fetch(queue, "a", [R(0, 10), R(1, 1), R(2, 1)])
    fetch(queue, "b", [R(0, 5)])
    assert queue.paused_modalities() == {"a"}


# the newest record that may go with the head of the slowest is exactly the skew younger
def test_logs_are_released_up_to_the_skew_after_the_oldest_head() -> None:
    queue = LogMerger({"a": 0, "b": 0}, skew_ms=100, records_max=10, bytes_max=100)
    fetch(queue, "a", [R(0, 1_100), R(1, 1_101)])
    fetch(queue, "b", [R(0, 1_000)])
    assert taken(queue, a=2, b=1) == [("b", 0), ("a", 0)]
    assert taken(queue, a=2, b=1) == [("a", 1)]


def test_merger_has_more_while_a_log_is_known_to_hold_more() -> None:
    queue = LogMerger({"a": 0, "b": 0}, skew_ms=100, records_max=10, bytes_max=100)
    assert not queue.has_more({"a": 0, "b": None})
    assert queue.has_more({"a": 0, "b": 1})
    fetch(queue, "b", [R(0, 1_000), R(1, 5_000)])
    assert queue.has_more({"a": 0, "b": 2})
    assert taken(queue, a=0, b=2) == [("b", 0)]
    assert queue.has_more({"a": 0, "b": 2}), "what waits in the queue was not handed on"
    assert taken(queue, a=0, b=2) == [("b", 1)]
    assert not queue.has_more({"a": 0, "b": 2})


def test_commit_offset_is_the_first_retained_offset_and_never_skips_one() -> None:
    held = RetainedOffsets()
    for offset in (3, 5, 8):
        held.retain(offset, offset * 10)
    held.retain(3, 30)
    held.release(5)
    assert held.commit_offset(20) == 3
    held.release(3)
    assert held.commit_offset(20) == 3
    held.release(3)
    assert held.first() == (8, 80)
    held.release(8)
    assert held.commit_offset(20) == 20


def test_session_is_due_when_its_oldest_window_leaves_the_tail_or_nothing_is_retained() -> None:
    coverage = FrontierCoverage(tail_us=100)
    coverage.on_window_emitted("old", 10)
    coverage.on_window_emitted("old", 500)
    coverage.on_window_emitted("new", 500)
    assert coverage.due_sessions([111, 900]) == ["old"]
    assert coverage.due_sessions([110]) == []
    assert coverage.due_sessions([]) == ["new", "old"]
    coverage.on_frontier_acknowledged("old", 7)
    assert coverage.due_sessions([]) == ["new"]


def test_only_obsolete_frontier_keys_are_deleted() -> None:
    coverage = FrontierCoverage(tail_us=1, old_keys={"s": [(b"low", 5), (b"high", 9)]})
    assert coverage.on_frontier_acknowledged("s", 7) == [b"low"]
    assert coverage.on_frontier_acknowledged("s", 9) == [b"high"]
    assert coverage.on_frontier_acknowledged("s", 9) == []


def test_largest_frontier_counts_and_other_settings_are_rejected() -> None:
    frontiers = [(b"a", LastEmittedWindow("s", 5, "c")), (b"b", LastEmittedWindow("s", 9, "c"))]
    start = initial_state({}, frontiers, [], "c")
    assert start.last_emitted_us == {"s": 9}
    assert start.old_keys == {"s": [(b"a", 5), (b"b", 9)]}
    with pytest.raises(SettingsMismatchError, match="braid migrate-settings"):
        initial_state({}, frontiers, [], "d")


def test_other_settings_are_accepted_if_a_current_record_is_at_least_as_far() -> None:
    old, own_frontier = (
        [(b"a", LastEmittedWindow("s", 5, "c")), (b"b", LastEmittedWindow("s", 9, "c"))],
        (b"d", LastEmittedWindow("s", 9, "d")),
    )
    window = Window("s", 9, 19, None, True, "c", {}, 0, 0)
    start = initial_state({}, [*old, own_frontier], [(1, window)], "d")
    assert (start.last_emitted_us, start.uncovered) == ({"s": 9}, {})
    assert start.old_keys == {"s": [(b"a", 5), (b"b", 9), (b"d", 9)]}
    with pytest.raises(SettingsMismatchError):
        initial_state({}, [*old, (b"d", LastEmittedWindow("s", 8, "d"))], [], "d")
    with pytest.raises(SettingsMismatchError):
        initial_state({}, [(b"d", LastEmittedWindow("s", 8, "d"))], [(1, window)], "d")
    with pytest.raises(SettingsMismatchError):
        initial_state({}, [own_frontier, (b"e", LastEmittedWindow("other session", 1, "c"))], [], "d")
