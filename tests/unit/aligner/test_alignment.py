"""What a window contains. Windows of 100 ms every 50; lateness audio 10, video 20; audio is gapless."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.aligner.timeline import MS, SEMANTICS, At, Line

ONE = replace(SEMANTICS, hop_us=100 * MS)  # windows side by side


# video      x                 x
# windows [--w0--)[--w100--)[--w200--)
#         0       100       200
def test_point_at_the_start_of_a_window_is_a_member_and_one_at_the_end_is_not() -> None:
    line = Line(ONE)
    line.video(100)
    line.video(200)
    line.audio(0, 400)
    line.video(500)
    assert line.members(100, "video") == ["100"]
    assert line.members(200, "video") == ["200"]


# audio   [========)[==========)
# w0      0      100
# bound of audio: 100, then 110 = end + lateness
def test_window_closes_when_the_watermark_is_exactly_end_plus_lateness() -> None:
    line = Line(ONE)
    line.video(0)
    line.video(120)
    line.audio(0, 100)
    assert line.starts() == []
    line.audio(100, 9)
    assert line.starts() == []
    line.audio(109, 1)
    assert line.starts() == [0]


# video   x(0)              x(230)      x(600)
# audio   [==========================)400
def test_count_of_open_windows_follows_opening_and_emission() -> None:
    line, counted = Line(SEMANTICS), []
    for t, duration in ((0, 0), (0, 400), (230, 0), (600, 0)):
        line.audio(t, duration) if duration else line.video(t)
        counted.append(line.aligner.windows_open)
        assert counted[-1] == sum(len(session.starts) for session in line.aligner.sessions.values())
    assert counted[0] == 2
    assert counted[1] > counted[2] > 0


# audio  [==)[==)[==)[==)[==)[==) ...      video: nothing, then a tick at 120
def test_silent_modality_is_unknown_with_the_idle_record_as_evidence() -> None:
    line = Line(ONE)
    for t in range(0, 200, 50):
        line.audio(t)
    assert line.starts() == []
    line.tick("video", 120)
    assert line.starts() == [0]
    assert line.mask(0) == {"audio": ("present", "data"), "video": ("unknown", "tick")}


# video  x(0)                      x(230): passes 0..., so w0 and w100 lack nothing but its silence in w100
def test_modality_whose_data_passed_the_window_is_absent() -> None:
    line = Line(ONE)
    line.video(0)
    line.audio(0, 400)
    line.video(330)
    assert line.mask(100) == {"audio": ("present", "data"), "video": ("absent", "data")}


# video  x  then silence, audio goes on; ticks close; video comes back at 400
def test_modality_that_stops_and_resumes_loses_no_data_and_reopens_no_window() -> None:
    line = Line(ONE)
    assert line.video(0) == "windowed"
    for t in range(0, 400, 50):
        line.audio(t)
        if t >= 150:
            line.tick("video", (t - 50) // 100 * 100 + 20)
    assert line.starts() == [0, 100, 200]
    assert line.mask(100)["video"] == ("unknown", "tick")
    assert line.video(150) == "late"
    assert line.video(400) == "windowed"
    assert line.audio(400, 100) == "windowed"
    line.tick("audio", 510)
    line.video(620)
    assert line.starts() == [0, 100, 200, 300, 400]


# video  x(300)        bound 300: w150 (closes at 270) is closed, w200 (closes at 320) is not
#        x(240)        would be in w150 and w200
def test_late_chunk_joins_those_of_its_windows_that_are_open() -> None:
    line = Line()
    line.video(300)
    assert line.video(240, id="behind") == "windowed"
    line.audio(0, 700)
    line.video(700)
    assert line.members(200, "video") == ["behind"]
    assert 150 not in line.starts() or "behind" not in line.members(150, "video")


# fast  x    x    x ...     slow  the same 160 ms behind: more than a window and the lateness
def test_slower_of_two_cameras_is_late_and_the_faster_is_unharmed() -> None:
    line = Line(ONE)
    fates = {"fast": [], "slow": []}  # type: dict[str, list[str]]
    for t in range(0, 1_000, 50):
        fates["fast"].append(line.video(t, source="fast"))
        fates["slow"].append(line.video(t - 160, source="slow"))
    assert set(fates["fast"]) == {"windowed"}
    assert set(fates["slow"]) == {"late"}
    assert {line.video(1_000, source="fast"), line.video(980, source="slow")} == {"windowed"}


def test_copy_is_a_duplicate_while_a_window_is_open_and_late_afterwards() -> None:
    line = Line(ONE)
    assert line.video(50) == "windowed"
    assert line.video(50) == "duplicate"
    line.video(130)
    assert line.video(50) == "late"


def test_other_bytes_under_a_known_identity_are_a_conflict() -> None:
    line = Line(ONE)
    line.video(50, id="7")
    assert line.video(50, id="7", content="b") == "conflict"


def test_reused_id_at_another_time_is_another_chunk() -> None:
    line = Line(ONE)
    line.video(50, id="7")
    assert line.video(150, id="7", content="b") == "windowed"


def test_late_chunk_does_not_raise_the_watermark() -> None:
    line = Line(ONE)
    line.video(500)
    before = line.aligner.sessions["s"].streams["video"].watermark_us
    assert line.video(10) == "late"
    assert line.aligner.sessions["s"].streams["video"].watermark_us == before


# audio [==============================)   one chunk of 300 ms: in every window that it overlaps
def test_long_chunk_belongs_to_each_window_that_it_overlaps() -> None:
    line = Line()
    line.audio(0, 300)
    assert line.aligner.sessions["s"].starts == [w * MS for w in range(-50, 300, 50)]


def test_full_window_rejects_members_and_a_chunk_without_room_is_rejected() -> None:
    line = Line(ONE)
    assert [line.video(10, id=str(n)) for n in range(5)] == ["windowed"] * 4 + ["limit"]


# the record that raised the watermark past the window decides, not the state at emission
def test_evidence_is_that_of_the_record_that_closed_the_window_for_the_stream() -> None:
    line = Line(ONE)
    line.audio(0, 50)
    line.tick("video", 120)
    line.video(300)
    line.audio(50, 300)
    assert line.mask(0)["video"] == ("unknown", "tick")


def test_windows_of_a_session_are_emitted_in_order_of_start() -> None:
    line = Line()
    line.video(0)
    line.audio(0, 1_000)
    line.video(1_000)
    line.video(1_100)
    assert line.starts() == sorted(line.starts())
    assert len(line.starts()) > 15


def test_sessions_are_isolated() -> None:
    line = Line(ONE)
    line.video(0, session="a")
    line.video(1_000_000, session="b")
    assert line.video(10, session="a") == "windowed"


def test_alive_records_make_a_modality_absent_with_evidence_alive() -> None:
    line = Line(ONE)
    line.video(50, alive=True)
    line.audio(0, 400)
    line.video(330, alive=True)
    assert line.mask(0)["video"] == ("absent", "alive")
    assert line.members(0, "video") == ["50"]


def test_undeclared_modality_is_absent_by_config_and_not_waited_for() -> None:
    line = Line(replace(ONE, sessions=(("s*", ("audio",)),)))
    line.audio(0, 400)
    assert line.starts() == [0, 100, 200]
    assert line.mask(0)["video"] == ("absent", "config")


def test_session_end_raises_no_watermark_before_its_idle_record() -> None:
    line = Line(ONE)
    line.video(50)
    line.audio(0, 110)
    line.end("video")
    assert line.starts() == []
    line.tick("video", 120, "end")
    assert line.mask(0)["video"] == ("present", "end")


def test_idle_records_close_the_last_window_of_a_session_and_leave_only_its_start() -> None:
    line = Line(ONE)
    line.video(50)
    line.tick("audio", 110)
    line.tick("video", 120)
    assert line.starts() == [0]
    assert line.aligner.sessions == {}
    assert line.aligner.last_emitted_us == {"s": 0}
    assert (line.floor("video"), line.floor("audio")) == (2, 1)


def test_no_window_up_to_the_last_emitted_one_is_built_again() -> None:
    line = Line(ONE, {"s": 100 * MS})
    assert line.video(150) == "late"
    assert line.video(250) == "windowed"


def test_window_names_the_previous_one_unless_it_is_too_long_ago() -> None:
    near = Line(ONE)
    near.video(0)
    near.audio(0, 400)
    near.video(400)
    assert [w.previous_us for w in near.out] == [None, 0, 100 * MS]
    far = Line(replace(ONE, event_gap_us=100 * MS), {"s": -1_000 * MS})
    far.audio(0, 400)
    far.video(130)
    assert far.out[0].previous_us is None


LEAD = replace(SEMANTICS, lead_us=30 * MS)


# append time 200, lead 30: whatever the device states, the watermark reaches 230 at most
@pytest.mark.parametrize(("t", "watermark"), [(200, 200), (229, 229), (230, 230), (231, 230), (5_000, 230)])
def test_frame_raises_the_watermark_at_most_to_its_append_time_plus_the_lead(t: int, watermark: int) -> None:
    line = At(LEAD)
    line.handed = 200
    assert line.video(t) == "windowed"
    assert line.lane("video").watermark_us == watermark * MS


def test_lead_counts_from_the_end_of_audio_and_not_at_all_for_idle_records() -> None:
    line = At(LEAD)
    line.handed = 200
    line.audio(150, 50)
    assert line.lane("audio").watermark_us == 200 * MS
    line.audio(200, 50)
    assert line.lane("audio").watermark_us == 230 * MS
    line.tick("audio", 900)
    assert line.lane("audio").watermark_us == 900 * MS


# fast camera 4000 ahead; the good one is 25 behind what the lead allows, with a lateness of 20 + 10 left by the lead
def test_camera_whose_clock_runs_ahead_makes_no_other_camera_late() -> None:
    line = At(replace(LEAD, lead_us=10 * MS, members_max=100))
    for line.handed in range(0, 1_000, 10):
        assert line.video(line.handed + 4_000, source="fast") == "windowed"
        assert line.video(line.handed, source="good") == "windowed"


def test_append_time_that_goes_back_lowers_no_watermark() -> None:
    line = At(LEAD)
    line.handed = 500
    line.video(500)
    line.handed = 100
    line.video(600)
    assert line.lane("video").watermark_us == 500 * MS
