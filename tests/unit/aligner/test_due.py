"""When the aligner looks at a session again, and what it finds then. Windows of 100 ms side by side, times in ms."""

from __future__ import annotations

from dataclasses import replace

from services.aligner.idleness import FOREVER_US, TimerQueue, early_deadline_us, early_starts, idle_deadline_us
from services.contract.alignment_config import StreamConfig
from tests.unit.aligner.test_patience import ONE, PATIENCE, told
from tests.unit.aligner.timeline import MS, At


def early(line: At, now: int) -> list[int]:
    return [start // MS for start in early_starts(line.session(), ONE, PATIENCE, now * MS)]


# video  x(60)     x(100)         nothing of audio: it has no member that could go on
def test_the_end_is_passed_when_one_modality_has_reached_it_exactly() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(60)
    assert early(line, 1_000) == []
    line.video(100)
    assert early(line, 1_000) == [0]


# audio  [========)  passes the end of w0; a frame may still come, and is not waited for
def test_a_point_modality_is_not_waited_for() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(60)
    line.audio(0, 105)
    assert early(line, 1_000) == [0]


# video  x(60) handed at 1000: its clock says 129 at 1069, and 130 = end + early_ms at 1070
def test_nothing_is_answered_before_the_sessions_clock_is_past_the_end_by_the_time_for_it() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(60)
    assert early(line, 1_069) == []
    assert early(line, 1_070) == [0]


# video  x(10) at 1000   x(60) at 1020: would be at 130 at 1090       audio  [==) 50 at 1000: would be there at 1080
def test_an_early_answer_is_looked_for_when_the_first_clock_of_the_session_would_be_there() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(10)
    line.audio(0, 50)
    line.handed = 1_020
    line.video(60)
    assert early_deadline_us(line.session(), ONE, PATIENCE) == 1_080 * MS
    assert early(line, 1_079) == []
    assert early(line, 1_080) == [0]


def test_a_clock_goes_on_from_the_newest_record_of_its_lane() -> None:
    line = At(ONE)
    for line.handed, t in ((1_000, 10), (1_020, 60)):
        line.video(t)
    assert early_deadline_us(line.session(), ONE, PATIENCE) == 1_090 * MS
    assert early(line, 1_089) == []
    assert early(line, 1_090) == [0]


def test_without_early_answers_none_is_looked_for() -> None:
    line = At(ONE)
    line.video(60)
    assert early_deadline_us(line.session(), ONE, replace(PATIENCE, early_us=None)) == FOREVER_US


# the chunk that the tick was for stands in a log that we are behind in
def test_a_session_that_holds_a_tick_and_no_window_has_nothing_to_be_said_and_is_not_looked_at() -> None:
    line = At(ONE)
    line.tick("audio", 110)
    assert told(line, 1 << 40) == []
    assert idle_deadline_us(line.session(), ONE, PATIENCE) == FOREVER_US
    assert early_deadline_us(line.session(), ONE, PATIENCE) == FOREVER_US


# audio  [==) at 1000  [==) at 1040 passes the end of w0       patience of video 100
def test_patience_begins_when_another_modality_passed_the_end_and_not_before() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 50)
    line.handed = 1_040
    line.audio(50, 50)
    assert idle_deadline_us(line.session(), ONE, PATIENCE) == 1_140 * MS
    assert told(line, 1_139) == []
    assert told(line, 1_140) == [("video", 120, "tick")]


# audio  [====) 105 at 1000     [====) 205 at 1090        patience of video 100
def test_each_window_is_said_to_be_silent_its_own_patience_after_it_was_passed() -> None:
    line = At(ONE)
    for line.handed, t, length in ((1_000, 0, 105), (1_090, 105, 100)):
        line.audio(t, length)
    assert told(line, 1_100) == [("video", 120, "tick")]
    assert told(line, 1_189) == []
    assert told(line, 1_190) == [("video", 220, "tick")]


# audio passes the end of w0 at 1000, text at 1050: who waits for video has waited since 1000
def test_patience_begins_with_the_first_of_the_others() -> None:
    lanes = {**ONE.streams, "text": StreamConfig(0, False)}
    three = replace(ONE, streams=lanes)
    line = At(three)
    line.handed = 1_000
    line.audio(0, 105)
    line.tick("audio", 220)
    line.handed = 1_050
    line.send("text", 150)
    line.tick("text", 200)
    patience = replace(PATIENCE, stream_us={"audio": 70 * MS, "text": 70 * MS, "video": 100 * MS})
    assert idle_deadline_us(line.session(), three, patience) == 1_100 * MS


# audio is closed by its tick; video is all that is waited for
def test_a_modality_that_waits_for_nothing_hides_no_other() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 50)
    line.tick("audio", 110)
    assert idle_deadline_us(line.session(), ONE, PATIENCE) == 1_100 * MS
    assert told(line, 1_100) == [("video", 120, "tick")]


# audio  [==) at 1000   x a copy of it at 1200   [) at 1200 at the very same end        idle after 300
def test_only_what_raises_a_bound_puts_off_idleness() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(50)
    line.handed = 1_200
    assert line.video(50) == "duplicate"
    assert line.video(50, id="another at the same time") == "windowed"
    assert line.video(20) == "windowed"
    assert told(line, 1_299) == []
    assert told(line, 1_300) == [("audio", 110, "tick"), ("video", 120, "tick")]


def test_what_raises_a_bound_puts_off_idleness() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(50)
    line.handed = 1_200
    line.video(51)
    assert told(line, 1_499) == []
    assert told(line, 1_500) == [("audio", 110, "tick"), ("video", 120, "tick")]


def test_a_source_that_sends_again_after_its_end_has_not_ended() -> None:
    line = At(ONE)
    line.video(50)
    line.end("video")
    line.video(60)
    assert told(line, 0, {}) == []


def test_a_session_that_is_not_to_be_looked_at_again_takes_no_room() -> None:
    agenda = TimerQueue()
    agenda.set("a", FOREVER_US)
    agenda.set("b", 10)
    agenda.set("b", FOREVER_US)
    assert agenda.next_deadline_us() == FOREVER_US
    assert not agenda._due_us
    assert not agenda._heap


def test_the_same_time_set_again_and_again_is_kept_once() -> None:
    agenda = TimerQueue()
    for _ in range(3):
        agenda.set("a", 10)
    assert len(agenda._heap) == 1
