"""When a session is checked next. Windows of 100 ms side by side, times in ms."""

from __future__ import annotations

from dataclasses import replace

from services.aligner.idleness import FOREVER_US, TimerQueue, early_deadline_us, early_starts, idle_deadline_us
from services.contract.alignment_config import StreamConfig
from tests.unit.aligner.test_idleness import ONE, PATIENCE, idle_records
from tests.unit.aligner.timeline import MS, At


def early(line: At, now: int) -> list[int]:
    return [start // MS for start in early_starts(line.session(), ONE, PATIENCE, now * MS)]


# video  x(60)     x(100)         nothing of audio: it has no member that could go on
def test_window_end_is_passed_when_one_stream_reaches_it_exactly() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(60)
    assert early(line, 1_000) == []
    line.video(100)
    assert early(line, 1_000) == [0]


# audio  [========)  passes the end of w0; a frame may still come, and is not waited for
def test_early_window_does_not_wait_for_a_modality_of_points() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(60)
    line.audio(0, 105)
    assert early(line, 1_000) == [0]


# video  x(60) handed at 1000: its clock says 129 at 1069, and 130 = end + early_ms at 1070
def test_early_window_waits_until_the_session_clock_is_early_us_past_the_end() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(60)
    assert early(line, 1_069) == []
    assert early(line, 1_070) == [0]


# video  x(10) at 1000   x(60) at 1020: would be at 130 at 1090       audio  [==) 50 at 1000: would be there at 1080
def test_early_deadline_is_that_of_the_fastest_stream_clock() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(10)
    line.audio(0, 50)
    line.handed = 1_020
    line.video(60)
    assert early_deadline_us(line.session(), ONE, PATIENCE) == 1_080 * MS
    assert early(line, 1_079) == []
    assert early(line, 1_080) == [0]


def test_stream_clock_continues_from_its_newest_record() -> None:
    line = At(ONE)
    for line.handed, t in ((1_000, 10), (1_020, 60)):
        line.video(t)
    assert early_deadline_us(line.session(), ONE, PATIENCE) == 1_090 * MS
    assert early(line, 1_089) == []
    assert early(line, 1_090) == [0]


def test_there_is_no_early_deadline_if_early_windows_are_off() -> None:
    line = At(ONE)
    line.video(60)
    assert early_deadline_us(line.session(), ONE, replace(PATIENCE, early_us=None)) == FOREVER_US


# the chunk of the tick is in a log that is not read to its end
def test_session_with_an_idle_record_and_no_window_has_no_deadline() -> None:
    line = At(ONE)
    line.tick("audio", 110)
    assert idle_records(line, 1 << 40) == []
    assert idle_deadline_us(line.session(), ONE, PATIENCE) == FOREVER_US
    assert early_deadline_us(line.session(), ONE, PATIENCE) == FOREVER_US


# audio  [==) at 1000  [==) at 1040 passes the end of w0       idle timeout of video 100
def test_idle_timeout_starts_when_another_stream_passes_the_end() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 50)
    line.handed = 1_040
    line.audio(50, 50)
    assert idle_deadline_us(line.session(), ONE, PATIENCE) == 1_140 * MS
    assert idle_records(line, 1_139) == []
    assert idle_records(line, 1_140) == [("video", 120, "tick")]


# audio  [====) 105 at 1000     [====) 205 at 1090        idle timeout of video 100
def test_each_window_has_its_own_idle_timeout() -> None:
    line = At(ONE)
    for line.handed, t, length in ((1_000, 0, 105), (1_090, 105, 100)):
        line.audio(t, length)
    assert idle_records(line, 1_100) == [("video", 120, "tick")]
    assert idle_records(line, 1_189) == []
    assert idle_records(line, 1_190) == [("video", 220, "tick")]


# audio passes the end of w0 at 1000, text at 1050: who waits for video has waited since 1000
def test_idle_timeout_starts_with_the_first_of_the_other_streams() -> None:
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
def test_stream_without_a_deadline_hides_no_other() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.audio(0, 50)
    line.tick("audio", 110)
    assert idle_deadline_us(line.session(), ONE, PATIENCE) == 1_100 * MS
    assert idle_records(line, 1_100) == [("video", 120, "tick")]


# audio  [==) at 1000   x a copy of it at 1200   [) at 1200 at the very same end        idle after 300
def test_data_that_raises_no_watermark_does_not_postpone_idleness() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(50)
    line.handed = 1_200
    assert line.video(50) == "duplicate"
    assert line.video(50, id="another at the same time") == "windowed"
    assert line.video(20) == "windowed"
    assert idle_records(line, 1_299) == []
    assert idle_records(line, 1_300) == [("audio", 110, "tick"), ("video", 120, "tick")]


def test_data_that_raises_a_watermark_postpones_idleness() -> None:
    line = At(ONE)
    line.handed = 1_000
    line.video(50)
    line.handed = 1_200
    line.video(51)
    assert idle_records(line, 1_499) == []
    assert idle_records(line, 1_500) == [("audio", 110, "tick"), ("video", 120, "tick")]


def test_source_that_sends_again_after_its_end_has_not_ended() -> None:
    line = At(ONE)
    line.video(50)
    line.end("video")
    line.video(60)
    assert idle_records(line, 0, {}) == []


def test_session_without_a_deadline_takes_no_memory_in_the_timer_queue() -> None:
    agenda = TimerQueue()
    agenda.set("a", FOREVER_US)
    agenda.set("b", 10)
    agenda.set("b", FOREVER_US)
    assert agenda.next_deadline_us() == FOREVER_US
    assert not agenda._due_us
    assert not agenda._heap


def test_deadline_that_is_set_again_is_stored_once() -> None:
    agenda = TimerQueue()
    for _ in range(3):
        agenda.set("a", 10)
    assert len(agenda._heap) == 1
