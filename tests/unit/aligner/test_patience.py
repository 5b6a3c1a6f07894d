"""When silence is written into a log, and when an early answer is due. Windows of 100 ms side by side, times in ms."""

from __future__ import annotations

from dataclasses import replace

from services.aligner.idleness import (
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


def told(line: At, asked: int, ends: dict[str, int] | None = None) -> list[tuple[str, int, str]]:
    """What is written for a session once the ends were asked for at a time; by default we have read up to them."""
    proof = EndOffsets(asked * MS, HERE if ends is None else ends)
    found = idle_markers(line.session(), ONE, PATIENCE, proof, HERE)
    return [(s.modality, s.watermark_us // MS, s.evidence) for s in found]


# audio [====)[====)  handed at 1000, passes the end of w0        patience of video: 100
def test_a_modality_is_ticked_when_another_passed_the_end_its_patience_ago() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 105)
    assert told(line, 1_099) == []
    assert told(line, 1_100) == [("video", 120, "tick")]


def test_each_tick_is_written_once() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 105)
    assert told(line, 1_100) == [("video", 120, "tick")]
    assert told(line, 1_150) == []


# our position 100, the log's end 101: something is in the log that we have not read
def test_without_proof_nothing_is_written() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 105)
    assert told(line, 1_200, {"audio": 100, "video": 101}) == []
    assert told(line, 1_200, {}) == []


# audio [==)  then nothing at all; idle after 300
def test_an_idle_session_is_closed_up_to_its_newest_window_and_no_further() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 50)
    assert told(line, 1_299) == []
    assert told(line, 1_300) == [("audio", 110, "tick"), ("video", 120, "tick")]


def test_an_idle_session_needs_the_proof_of_all_logs() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 50)
    assert told(line, 1_400, {"audio": 100, "video": 101}) == []


def test_no_modality_is_called_idle_before_its_own_patience() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 50)
    slow = replace(PATIENCE, stream_us={"audio": 70 * MS, "video": 900 * MS})
    found = [s.modality for s in idle_markers(line.session(), ONE, slow, EndOffsets(1_400 * MS, HERE), HERE)]
    assert found == ["audio"]


def test_a_modality_whose_sources_have_all_ended_is_ticked_at_once() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(50, source="a")
    line.video(50, source="b")
    line.end("video", "a")
    assert told(line, 0, {}) == []
    line.end("video", "b")
    assert told(line, 0, {}) == [("video", 120, "end")]


# audio passes the end of w0: nothing else is waited for
def test_an_early_answer_is_due_when_a_modality_passed_the_end_and_gapless_members_have_too() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(60)
    line.audio(0, 50)
    line.video(101)
    assert early_starts(line.session(), ONE, PATIENCE, 1_000 * MS) == []
    line.audio(50, 50)
    assert early_starts(line.session(), ONE, PATIENCE, 1_000 * MS) == [0]


# audio [==)  handed at 1000 with bound 50: at 1080 the session's clock stands at 130 = end + early_ms
def test_an_early_answer_comes_by_the_sessions_own_clock_where_nothing_passes_the_end() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 50)
    assert early_starts(line.session(), ONE, PATIENCE, 1_079 * MS) == []
    assert early_starts(line.session(), ONE, PATIENCE, 1_080 * MS) == [0]
    assert early_deadline_us(line.session(), ONE, PATIENCE) == 1_080 * MS
    line.aligner.early_window(line.session(), 0)
    assert early_starts(line.session(), ONE, PATIENCE, 2_000 * MS) == []


def test_without_early_answers_none_is_due() -> None:
    line = At(ONE)
    line.audio(0, 50)
    assert early_starts(line.session(), ONE, replace(PATIENCE, early_us=None), FOREVER_US) == []


def test_a_silence_is_looked_for_when_the_first_may_be_due() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 105)
    line.aligner.early_window(line.session(), 0)
    line.aligner.early_window(line.session(), 100 * MS)
    due_us = idle_deadline_us(line.session(), ONE, PATIENCE)
    assert due_us == 1_100 * MS
    assert told(line, due_us // MS) == [("video", 120, "tick")]


# video is told to 119.999, and w0 closes at 120: it may still be silent for w0, its patience after audio passed the end
def test_a_window_is_looked_at_for_a_silence_until_the_last_microsecond_of_it_is_told() -> None:
    for bound, due in ((119.999, 1_100), (120, 1_120)):
        line = At(ONE)
        line.handed = 1_000
        line.audio(0, 105)
        line.handed = 1_050
        line.tick("video", bound)
        assert idle_deadline_us(line.session(), ONE, PATIENCE) == due * MS


def test_the_agenda_gives_each_session_once_at_the_time_that_was_set_last() -> None:
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


def test_under_memory_pressure_the_aligner_waits_less_and_at_the_limit_not_at_all() -> None:
    patience = replace(PATIENCE, retained_max=1_000)
    assert patience.scaled_for(500) == patience
    assert patience.scaled_for(750) == replace(
        patience, stream_us={"audio": 35 * MS, "video": 50 * MS}, session_us=150 * MS
    )
    assert patience.scaled_for(1_000) == replace(patience, stream_us={"audio": 0, "video": 0}, session_us=0)
    assert patience.scaled_for(9_999) == patience.scaled_for(1_000)


def test_who_names_no_limit_has_that_of_the_settings() -> None:
    assert PATIENCE.retained_max == AlignmentSettings().held_max
