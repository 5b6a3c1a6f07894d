"""Lateness of chunks and times of window records. Times in ms."""

from __future__ import annotations

from dataclasses import replace

from services.aligner.alignment import Late
from tests.unit.aligner.timeline import MS, SEMANTICS, At, Line

ONE = replace(SEMANTICS, hop_us=100 * MS)  # windows side by side


# video  x(60) would be in w0 and w50; w50 closes at 170, the bound stands at 500
def test_late_chunk_names_its_missed_windows_and_how_far_the_watermark_was_past_them() -> None:
    line = Line()
    line.video(500)
    line.video(60)
    assert line.fates[-1] == Late((0, 50 * MS), 330 * MS)


def test_chunk_that_arrives_as_its_window_closes_is_late_by_zero() -> None:
    line = Line(ONE)
    line.video(120)
    line.video(60)
    assert line.fates[-1] == Late((0,), 0)


# after a restart the frontier alone tells which windows were emitted
def test_chunk_before_the_last_emitted_window_is_late_by_zero() -> None:
    line = Line(ONE, {"s": 0})
    line.video(60)
    assert line.fates[-1] == Late((0,), 0)


# windows [0, 100) [200, 300): 150 lies between them
def test_chunk_between_windows_is_late_by_zero_and_missed_none() -> None:
    line = Line(replace(SEMANTICS, hop_us=200 * MS))
    line.video(500)
    line.video(150)
    assert line.fates[-1] == Late((), 0)


def test_limit_of_members_can_be_one() -> None:
    line = Line(replace(ONE, members_max=1))
    assert [line.video(10), line.video(20), line.video(110)] == ["windowed", "limit", "windowed"]


# video  x(0) at 10    x(130) at 140 closes w0 for video    x(600) at 610     read first
# audio  [====) at 115 closes w0 for audio                                    read after it
def test_final_window_has_the_append_times_of_its_first_member_and_last_closing_record() -> None:
    line = At(ONE)
    for line.handed, t in ((10, 0), (140, 130), (610, 600)):
        line.video(t)
    line.handed = 115
    line.audio(0, 110)
    window = line.out[0]
    assert window.final
    assert (window.start_us, window.end_us) == (0, 100 * MS)
    assert (window.opened_us, window.closed_us) == (10 * MS, 140 * MS)


def test_early_window_holds_what_was_read_so_far() -> None:
    line = Line(ONE)
    line.audio(0, 50)
    line.video(10)
    line.video(20)
    line.video(30)
    early = line.aligner.early_window(line.aligner.sessions["s"], 0)
    assert not early.final
    assert (early.opened_us, early.closed_us) == (1 * MS, 4 * MS)
    assert [member.id for member in early.modalities["video"].members] == ["10", "20", "30"]
    assert {lane.evidence for lane in early.modalities.values()} == {None}


# w0 is out; the next window starts exactly, or a window more than, the event gap after it
def test_window_names_a_previous_one_that_is_exactly_the_gap_away() -> None:
    for gap, previous in ((300, 0), (299, None)):
        line = Line(replace(ONE, event_gap_us=gap * MS), {"s": 0})
        line.video(350)
        line.tick("audio", 410)
        line.tick("video", 420)
        assert [w.previous_us for w in line.out] == [previous]
