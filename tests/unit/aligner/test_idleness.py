"""When idle records are written and early windows are due. Windows of 100 ms side by side, times in ms."""

from __future__ import annotations

from dataclasses import replace

from services.aligner.idleness import (
    DUE_MAX,
    FOREVER_US,
    EndOffsets,
    IdleTimeouts,
    TimerQueue,
    early_deadline_us,
    early_starts,
    idle_deadline_us,
    idle_markers,
)
from services.runtime.settings import AlignmentSettings
from tests.unit.aligner.timeline import MS, SEMANTICS, At

ONE = replace(SEMANTICS, hop_us=100 * MS)
PATIENCE = IdleTimeouts({"audio": 70 * MS, "video": 100 * MS}, session_us=300 * MS, early_us=30 * MS)
HERE = {"audio": 100, "video": 100}


def idle_records(line: At, requested_ms: int, ends: dict[str, int] | None = None) -> list[tuple[str, int, str]]:
    """Return the idle records due with end offsets of this time; by default the aligner has reached them."""
    proof = EndOffsets(requested_ms * MS, HERE if ends is None else ends)
    markers = idle_markers(line.session(), ONE, PATIENCE, proof, HERE)
    return [(s.modality, s.watermark_us // MS, s.evidence) for s in markers]


# audio [====)[====)  handed at 1000, passes the end of w0        idle timeout of video: 100
def test_stream_is_idle_when_another_passed_the_end_an_idle_timeout_ago() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 105)
    assert idle_records(line, 1_099) == []
    assert idle_records(line, 1_100) == [("video", 120, "tick")]


def test_each_idle_record_is_written_once() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 105)
    assert idle_records(line, 1_100) == [("video", 120, "tick")]
    assert idle_records(line, 1_150) == []


# position 100, end offset 101: the log holds an unread record
def test_no_idle_record_is_written_before_the_end_offsets_are_reached() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 105)
    assert idle_records(line, 1_200, {"audio": 100, "video": 101}) == []
    assert idle_records(line, 1_200, {}) == []


# audio [==)  then nothing at all; idle after 300
def test_idle_session_is_closed_up_to_its_newest_window_and_no_further() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 50)
    assert idle_records(line, 1_299) == []
    assert idle_records(line, 1_300) == [("audio", 110, "tick"), ("video", 120, "tick")]


def test_idle_session_needs_the_end_offsets_of_all_logs() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 50)
    assert idle_records(line, 1_400, {"audio": 100, "video": 101}) == []


def test_no_stream_is_idle_before_its_own_timeout() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 50)
    slow = replace(PATIENCE, stream_us={"audio": 70 * MS, "video": 900 * MS})
    markers = [s.modality for s in idle_markers(line.session(), ONE, slow, EndOffsets(1_400 * MS, HERE), HERE)]
    assert markers == ["audio"]


def test_stream_whose_sources_have_all_ended_is_closed_at_once() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(50, source="a")
    line.video(50, source="b")
    line.end("video", "a")
    assert idle_records(line, 0, {}) == []
    line.end("video", "b")
    assert idle_records(line, 0, {}) == [("video", 120, "end")]


# audio passes the end of w0: no other stream is waited for
def test_early_window_is_due_when_a_stream_and_all_gapless_members_passed_the_end() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(60)
    line.audio(0, 50)
    line.video(101)
    assert early_starts(line.session(), ONE, PATIENCE, 1_000 * MS) == []
    line.audio(50, 50)
    assert early_starts(line.session(), ONE, PATIENCE, 1_000 * MS) == [0]


# audio [==)  handed at 1000 with bound 50: at 1080 the session's clock stands at 130 = end + early_ms
def test_early_window_is_due_by_the_session_clock_if_nothing_passes_the_end() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 50)
    assert early_starts(line.session(), ONE, PATIENCE, 1_079 * MS) == []
    assert early_starts(line.session(), ONE, PATIENCE, 1_080 * MS) == [0]
    assert early_deadline_us(line.session(), ONE, PATIENCE) == 1_080 * MS
    line.aligner.early_window(line.session(), 0)
    assert early_starts(line.session(), ONE, PATIENCE, 2_000 * MS) == []


def test_no_early_window_is_due_if_they_are_off() -> None:
    line = At(ONE)
    line.audio(0, 50)
    assert early_starts(line.session(), ONE, replace(PATIENCE, early_us=None), FOREVER_US) == []


def test_idle_deadline_is_that_of_the_first_stream() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 105)
    line.aligner.early_window(line.session(), 0)
    line.aligner.early_window(line.session(), 100 * MS)
    due_us = idle_deadline_us(line.session(), ONE, PATIENCE)
    assert due_us == 1_100 * MS
    assert idle_records(line, due_us // MS) == [("video", 120, "tick")]


# The watermark of video is 119.999 and w0 closes at 120: video can still become idle for w0, one timeout after audio passed its end.
def test_idle_deadline_remains_until_the_closing_watermark_is_announced() -> None:
    for bound, due in ((119.999, 1_100), (120, 1_120)):
        line = At(ONE)
        line.handed = 1_000
        line.audio(0, 105)
        line.handed = 1_050
        line.tick("video", bound)
        assert idle_deadline_us(line.session(), ONE, PATIENCE) == due * MS


def test_timer_queue_returns_each_session_once_at_the_time_set_last() -> None:
    agenda = TimerQueue()
    agenda.set("a", 50)
    agenda.set("b", 20)
    agenda.set("a", 10)
    assert agenda.next_deadline_us() == 10
    assert agenda.pop_due(15) == ["a"]
    assert agenda.pop_due(60) == ["b"]
    agenda.set("c", 5)
    agenda.set("c", FOREVER_US)
    assert agenda.next_deadline_us() == FOREVER_US


def test_of_many_sessions_that_are_due_a_part_is_checked_at_once_and_the_rest_is_due_again() -> None:
    timers, sessions = TimerQueue(), [f"s{i:04}" for i in range(DUE_MAX * 2 + 1)]
    for session in sessions:
        timers.set(session, 10)
    assert timers.pop_due(15) == sessions[:DUE_MAX]
    assert timers.next_deadline_us() == 10
    assert timers.pop_due(15) + timers.pop_due(15) == sessions[DUE_MAX:]
    assert timers.next_deadline_us() == FOREVER_US


def test_timeouts_shrink_under_memory_pressure_and_are_zero_at_the_limit() -> None:
    patience = replace(PATIENCE, retained_max=1_000)
    assert patience.scaled_for(500) == patience
    assert patience.scaled_for(750) == replace(
        patience, stream_us={"audio": 35 * MS, "video": 50 * MS}, session_us=150 * MS
    )
    assert patience.scaled_for(1_000) == replace(patience, stream_us={"audio": 0, "video": 0}, session_us=0)
    assert patience.scaled_for(9_999) == patience.scaled_for(1_000)


def test_default_limit_of_retained_records_is_that_of_the_settings() -> None:
    assert PATIENCE.retained_max == AlignmentSettings().held_max
