"""What the aligner remembers and when it forgets it. Times in ms, as in test_alignment."""

from __future__ import annotations

from dataclasses import replace

from services.contract.alignment_config import AlignmentConfig, StreamConfig
from tests.unit.aligner.timeline import MS, SEMANTICS, Line

ONE = replace(SEMANTICS, hop_us=100 * MS)  # windows side by side
STALE = replace(ONE, stale_after_us=1_000 * MS, event_gap_us=50 * MS)


def known(line: Line) -> list[str]:
    """Return the ids that the video stream remembers."""
    stream = line.lane("video")
    return sorted(
        id for pane in stream.panes.values() if pane.last_us > stream.closed_us for _, id, _, _ in pane.chunks
    )


# video   x(60)          x(120)                  x(170)
# w0      [---- closes at 120
# w50        [---------- closes at 170: then the identity of 60 is of no use
def test_identity_is_remembered_until_the_last_of_its_windows_closes_exactly() -> None:
    line = Line()
    line.video(60)
    line.video(120)
    assert line.video(60) == "duplicate"
    line.video(169)
    assert known(line) == ["120", "169", "60"]
    line.video(170)
    assert known(line) == ["120", "169", "170"]
    assert line.video(60) == "late"


def test_only_identities_whose_windows_are_closed_are_forgotten() -> None:
    line = Line(ONE)
    for t in (50, 10, 110):
        line.video(t)
    assert known(line) == ["10", "110", "50"]
    line.tick("video", 120)
    assert known(line) == ["110"]


# video  x(0) x(50) x(120) x(199) x(200) x(250)      audio passes w0
# w100                           end = 200: what the bound was below that decides nothing any more
def test_watermark_history_is_trimmed_to_what_the_next_window_needs() -> None:
    line = Line(ONE)
    for t in (0, 50, 120, 199, 200, 250):
        line.video(t)
    line.audio(0, 110)
    assert line.starts() == [0]
    assert [step.watermark_us // MS for step in line.lane("video").steps] == [200, 250]
    assert [step.watermark_us // MS for step in line.lane("audio").steps] == [110]


def test_newest_watermark_step_is_never_trimmed() -> None:
    line = Line(ONE)
    for t in (0, 50, 120, 130):
        line.video(t)
    line.audio(0, 110)
    assert [step.watermark_us // MS for step in line.lane("video").steps] == [130]


# frontier 100: w0 and w100 are out
def test_late_chunk_opens_no_session() -> None:
    line = Line(ONE, {"s": 100 * MS})
    assert line.video(150) == "late"
    assert line.aligner.sessions == {}


def test_session_end_opens_no_session() -> None:
    line = Line(ONE)
    line.end("video")
    assert line.aligner.sessions == {}


# audio  [====)  gapless and without lateness: it closes its own window
def test_chunk_that_closes_the_last_window_leaves_only_its_start() -> None:
    line = Line(AlignmentConfig(size_us=100 * MS, hop_us=100 * MS, streams={"audio": StreamConfig(0, True)}))
    line.audio(0, 100)
    assert line.starts() == [0]
    assert line.aligner.sessions == {}
    assert line.aligner.last_emitted_us == {"s": 0}


# audio  [============)            one tick reaches w0 and w100, the other lets both out at once
def test_idle_record_is_released_when_the_newest_window_it_closes_is_emitted() -> None:
    line = Line(ONE)
    line.audio(0, 200)
    line.tick("video", 220)
    assert line.floor("video") == 0
    line.tick("audio", 210)
    assert line.starts() == [0, 100]
    assert line.floor("video") == 1
    assert line.aligner.sessions == {}


# w100 closes at 220 for video; w0 is out
def test_idle_record_that_closes_no_new_window_is_not_retained() -> None:
    line = Line(ONE, {"s": 0})
    line.tick("video", 219.999)
    assert line.floor("video") == 1
    line.tick("video", 220)
    assert line.floor("video") == 1
    assert line.aligner.retained["video"].first() == (1, 2 * MS)


def test_idle_record_that_raises_nothing_is_not_retained() -> None:
    line = Line(ONE)
    line.audio(0, 50)
    line.video(120)
    line.tick("video", 120)
    assert len(line.aligner.retained["video"]) == 1
    assert [step.evidence for step in line.lane("video").steps] == ["data"]


def test_last_emitted_windows_read_at_the_start_are_forgotten_in_any_order() -> None:
    line = Line(STALE, {"young": 5_000 * MS, "old": 0, "older": -1 * MS})
    assert line.aligner.forget_before(1_150 * MS + 1) == ["older", "old"]
    assert line.aligner.last_emitted_us == {"young": 5_000 * MS}


def test_last_emitted_window_of_this_process_is_forgotten_like_one_that_was_read() -> None:
    line = Line(STALE)
    for window in (0, 100):
        line.video(window + 50)
        line.tick("audio", window + 110)
        line.tick("video", window + 120)
    assert line.starts() == [0, 100]
    assert line.aligner.forget_before(1_250 * MS) == []
    assert line.aligner.forget_before(1_250 * MS + 1) == ["s"]
    assert line.aligner.last_emitted_us == {}


def test_finished_session_that_retained_an_idle_record_leaves_no_state() -> None:
    line = Line(STALE)
    line.tick("video", 120)  # the chunk that it was for stands in the other log
    line.audio(0, 50)
    assert line.lane("video").ticks
    line.tick("audio", 110)
    assert line.aligner.sessions == {}
    assert line.aligner.forget_before(0) == []
    assert not line.aligner._ticked
    assert line.floor("video") == 1


def test_commit_offset_stays_at_the_first_member_of_an_open_window() -> None:
    line = Line(ONE)
    line.video(50)
    line.video(120)
    line.audio(0, 110)
    assert line.starts() == [0]
    assert line.floor("video") == 1


def test_idle_record_is_retained_until_the_windows_it_closes_are_emitted() -> None:
    line = Line(ONE)
    line.audio(0, 50)
    line.tick("video", 120)
    assert line.floor("video") == 0
    line.tick("audio", 110)
    assert line.floor("video") == 1


def test_ten_thousand_sessions_with_one_chunk_each_are_emitted_and_leave_only_their_starts() -> None:
    semantics = AlignmentConfig(size_us=100 * MS, hop_us=100 * MS, streams={"video": StreamConfig(20 * MS, False)})
    line = Line(semantics)
    for n in range(10_000):
        line.video(50, session=f"s{n}")
        line.tick("video", 120, session=f"s{n}")
    assert len(line.out) == 10_000
    assert not line.aligner.sessions
    assert line.floor("video") == 20_000


# windows of 100 side by side, stale after 1000, event gap 50: a frontier at 0 is of no use for what comes after 1150
def test_last_emitted_window_is_forgotten_once_all_it_rules_out_is_stale() -> None:
    line = Line(STALE, {"old": 0, "young": 1 * MS})
    assert line.aligner.forget_before(1_150 * MS) == []
    assert line.aligner.forget_before(1_150 * MS + 1) == ["old"]
    assert line.aligner.last_emitted_us == {"young": 1 * MS}


def test_last_emitted_window_of_an_open_session_is_kept_until_the_session_is_over() -> None:
    line = Line(STALE, {"s": 0})
    line.video(250)
    assert line.aligner.forget_before(9_000 * MS) == []
    line.tick("audio", 310)
    line.tick("video", 320)
    assert line.aligner.last_emitted_us == {"s": 200 * MS}
    assert line.aligner.forget_before(1_350 * MS) == []
    assert line.aligner.forget_before(1_350 * MS + 1) == ["s"]


def test_idle_record_without_windows_is_released_once_all_below_it_is_stale() -> None:
    line = Line(STALE)
    line.tick("video", 320)
    assert line.floor("video") == 0
    line.aligner.forget_before(1_350 * MS - 1)
    assert (line.floor("video"), list(line.aligner.sessions)) == (0, ["s"])
    line.aligner.forget_before(1_350 * MS)
    assert (line.floor("video"), list(line.aligner.sessions)) == (1, [])
