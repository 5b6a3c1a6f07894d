"""Wrong clocks, exact boundaries, copies, long and short chunks, session ids. Cases 3, 8, 9, 10, 13, 14; in ms."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.contract import last_emitted_window
from tests.cases.devices import Sent, frames, record_of, sound
from tests.cases.scene import TOPICS, Scene

HOUR, DAY = 3_600_000, 86_400_000


# video clock  right . . . .| wrong . . . . .| right . . . .      audio [==)[==)[==)[==)[==)[==)[==)[==)
#              0            4000             8000         12000
@pytest.mark.parametrize(
    ("behind", "fate"),
    [(-HOUR, "future"), (-60_001, "future"), (DAY + 1, "stale")],
    ids=["an hour ahead", "a little more than is taken", "a day behind"],
)
def test_case_03_a_clock_an_hour_ahead_is_future_a_day_behind_is_stale_and_audio_is_unharmed(
    behind: int, fate: str
) -> None:
    wrong = frames(4_000 - behind, 8_000 - behind, behind=behind)
    scene = Scene().play(sound(0, 12_000), frames(0, 4_000), wrong, frames(8_000, 12_000), until=20_000)
    assert scene.fates("video") == ["windowed"] * 16 + [fate] * 16 + ["windowed"] * 16
    assert set(scene.fates("audio")) == {"windowed"}
    assert scene.starts() == list(range(-1_500, 11_501, 500))  # none an hour ahead or a day ago
    assert {scene.mask(start, "audio") for start in range(-1_500, 9_501, 500)} == {("present", "data")}
    assert (scene.mask(4_500, "video"), scene.mask(8_000, "video")) == (("unknown", "tick"), ("present", "data"))
    assert (
        max(scene.closed_at(start) - start for start in range(-1_500, 9_001, 500)) == 3_000
    )  # the idle timeout of video
    assert scene.outcome() == scene.oracle_outcome()


def test_case_03_event_time_at_the_limit_of_the_future_is_admitted() -> None:
    scene = Scene().play([Sent(1_000, "video", 6_000), Sent(1_000, "audio", 5_500, 500)])
    assert scene.fates("video") + scene.fates("audio") == ["windowed", "windowed"]
    scene.play([Sent(1_001, "audio", 5_502, 500)])  # the end of audio counts
    assert scene.fates("audio") == ["windowed", "future"]


# video clock  right . . . .| 10 s back: 0 ... 10000 .| right again . . .     audio goes on
# arrives      0           10000                      20000          30000
def test_case_03_a_clock_that_goes_back_10_s_is_late_until_it_is_right_again_and_audio_is_unharmed() -> None:
    back = frames(0, 10_000, behind=10_000, content=2, id="back")
    scene = Scene().play(sound(0, 30_000), frames(0, 10_000), back, frames(20_000, 30_000), until=40_000)
    assert scene.fates("video") == ["windowed"] * 40 + ["late"] * 40 + ["windowed"] * 40
    assert set(scene.fates("audio")) == {"windowed"}
    assert scene.starts() == list(range(-1_500, 29_501, 500))
    assert max(scene.closed_at(start) - start for start in range(-1_500, 27_001, 500)) == 3_000
    assert {scene.mask(start, "audio") for start in range(-1_500, 27_501, 500)} == {("present", "data")}
    assert {scene.mask(start, "video") for start in range(10_000, 17_001, 500)} == {("unknown", "tick")}
    assert scene.outcome() == scene.oracle_outcome()


# video alone, never corrected: at 20000 its clock shows 10000 again, which no record of the session has passed
def test_case_03_a_clock_that_goes_back_10_s_is_late_until_it_has_caught_up() -> None:
    back = frames(0, 14_000, behind=10_000, session="v", id="back")
    scene = Scene().play(frames(0, 10_000, session="v"), back, until=40_000)
    assert scene.fates("video") == ["windowed"] * 40 + ["late"] * 40 + ["windowed"] * 16
    assert scene.starts("v") == list(range(-1_500, 13_501, 500))
    assert scene.outcome() == scene.oracle_outcome()


# video             x(1000)                 audio [1000==2000)
# windows [-1000..1000) no   [-500..) [0..) [500..) [1000..) yes        [-500..1500) .. [1500..3500) yes, [2000..) no
def test_case_08_a_point_at_the_start_is_in_and_at_the_end_is_out_and_an_interval_touches_neither() -> None:
    scene = Scene().play([Sent(1_000, "video", 1_000), Sent(2_000, "audio", 1_000, 1_000)], until=9_000)
    assert scene.holding("1000", "video") == [-500, 0, 500, 1_000]
    assert scene.holding("1000", "audio") == [-500, 0, 500, 1_000, 1_500]
    assert scene.outcome() == scene.oracle_outcome()


# video of "v"  x(0)     bound 2499.999: window [0..2000) stays open        bound 2500 = end + lateness: out
def test_case_08_a_window_closes_when_the_watermark_is_exactly_end_plus_lateness() -> None:
    scene = Scene().play([Sent(0, "video", 0, session="v"), Sent(2_500, "video", 2_499.999, session="v")])
    assert scene.starts("v") == [-1_500, -1_000, -500]
    scene.play([Sent(2_501, "video", 2_500, session="v")])
    assert scene.starts("v") == [-1_500, -1_000, -500, 0]
    scene.wait(9_000)
    assert scene.outcome() == scene.oracle_outcome()


# audio  [0==)[500==)[1000==)[1500==)[2000..2299)[2299..2300)    the watermark of audio is its end: 2299, then 2300 = end + lateness
def test_case_08_the_watermark_of_audio_is_its_end() -> None:
    scene = Scene().play([Sent(0, "video", 0), Sent(2_400, "video", 2_600)], sound(0, 2_000))
    scene.play([Sent(2_401, "audio", 2_000, 299)])
    assert scene.starts() == [-1_500, -1_000, -500]
    scene.play([Sent(2_402, "audio", 2_299, 1)])
    assert scene.starts() == [-1_500, -1_000, -500, 0]


# video of "v"  x(0) copy(0): duplicate      x(2499.999) copy(0): duplicate      x(2500) copy(0): late
def test_case_09_a_duplicate_after_its_window_closed_is_late() -> None:
    copies = [Sent(at, "video", 0, session="v") for at in (1, 2_500, 2_502)]
    scene = Scene().play([Sent(0, "video", 0, session="v"), *copies])
    assert scene.fates("video") == ["windowed", "duplicate", "duplicate", "duplicate"]
    scene = Scene().play(
        [Sent(0, "video", 0, session="v"), *copies],
        [Sent(2_499, "video", 2_499.999, session="v"), Sent(2_501, "video", 2_500, session="v")],
        until=20_000,
    )
    assert scene.fates("video") == ["windowed", "duplicate", "windowed", "duplicate", "windowed", "late"]
    assert scene.starts("v") == list(range(-1_500, 2_501, 500))
    assert scene.members(0, "video", "v") == ["0"]
    assert scene.outcome() == scene.oracle_outcome()


# video of "v"  x(5000)    x(bound)    x(5100): its windows 3500 4000 4500 5000 close at 6000 6500 7000 7500
@pytest.mark.parametrize(
    ("bound", "fits"),
    [
        (5_999, [3_500, 4_000, 4_500, 5_000]),
        (6_499, [4_000, 4_500, 5_000]),
        (6_500, [4_500, 5_000]),
        (7_499, [5_000]),
        (7_500, []),
    ],
)
def test_case_10_a_late_chunk_that_still_fits_two_of_its_four_windows_is_windowed_in_those(
    bound: int, fits: list[int]
) -> None:
    plan = [Sent(5_000, "video", 5_000), Sent(7_600, "video", bound), Sent(7_600, "video", 5_100, id="it")]
    scene = Scene().play([replace(sent, session="v") for sent in plan], until=20_000)
    assert scene.fates("video")[2] == ("windowed" if fits else "late")
    assert scene.holding("it", "video", "v") == fits
    assert len(scene.starts("v")) == len(set(scene.starts("v")))
    assert scene.outcome() == scene.oracle_outcome()


TAKEN = ["a", "s" * 128, "ü" * 64, "🎥" * 32, "{room} 2", "}{", " ", "日本 {}"]
NOT_TAKEN = [b"", b"s" * 129, "ü".encode() * 64 + b"a", b"\xff\xfe", b"\xed\xa0\x80", b"a\nb", b"a\0b", b"\x7f"]
NOT_TAKEN += ["zero\u200bwidth".encode(), "line\u2028end".encode()]


@pytest.mark.parametrize("session", TAKEN, ids=range(len(TAKEN)))
def test_case_13_session_ids_of_1_to_128_bytes_of_printable_utf8_are_accepted(session: str) -> None:
    scene = Scene().play([Sent(1_000, "video", 1_000, session=session)], until=9_000)
    assert scene.starts(session) == [-500, 0, 500, 1_000]
    assert scene.ticks("text", session) == [
        (4_000, 3_500, "tick")
    ]  # the session id survives a round trip through a tick
    assert scene.finals(session)[-1].id == f"{session}/1700000001000/1"
    scene.commit()
    ((key, frontier),) = scene.frontiers.items()
    assert last_emitted_window.session_of(key) == session
    assert last_emitted_window.decode_or_none(last_emitted_window.encode(frontier)) == frontier
    assert scene.outcome() == scene.oracle_outcome()


@pytest.mark.parametrize("key", NOT_TAKEN, ids=range(len(NOT_TAKEN)))
def test_case_13_any_other_session_id_is_rejected(key: bytes) -> None:
    scene = Scene()
    record = record_of(Sent(0, "video", 0), 0, scene.stamp())
    headers = [(name, value) for name, value in record.headers if name != "ce_subject"]
    scene.logs["video"].append(replace(record, key=key, headers=headers))
    scene.process_all()
    scene.wait(9_000)
    assert scene.fates("video") == ["session"]
    assert scene.dead == [(TOPICS.media("video"), 0, "session", "admission")]
    assert (scene.windows, scene.ends()) == ([], {"text": 0, "video": 1, "audio": 0})
    assert (scene.owner.aligner.sessions, scene.commit_offsets()) == ({}, scene.ends())


# text    "(3000, 0 ms)  "(3100, stated 0)        a point is in four windows, wherever it stands
def test_case_14_a_chunk_of_0_ms_is_in_four_windows() -> None:
    plan = [Sent(3_000, "text", 3_000), Sent(3_100, "text", 3_100, duration="0"), Sent(3_100, "video", 3_000.001)]
    scene = Scene().play([replace(sent, session="avt") for sent in plan], until=20_000)
    for id, modality in (("3000", "text"), ("3100", "text"), ("3000.001", "video")):
        assert scene.holding(id, modality, "avt") == [1_500, 2_000, 2_500, 3_000]
    assert scene.outcome() == scene.oracle_outcome()


# audio   [100 ================================= 10100)     starts -1500 ... 10000: 24; on a hop's edge 23
# text    "(100, stated 10 s)                               the same windows, but its bound is 100 and not 10100
@pytest.mark.parametrize(("t", "starts"), [(100, range(-1_500, 10_001, 500)), (0, range(-1_500, 9_501, 500))])
def test_case_14_a_chunk_of_10_s_is_in_24_windows(t: int, starts: range) -> None:
    plan = [Sent(10_100, "audio", t, 10_000), Sent(10_101, "text", t, duration="10000"), Sent(10_102, "text", 50)]
    scene = Scene().play([replace(sent, session="avt") for sent in plan], until=30_000)
    assert len(starts) == (24 if t else 23)
    assert scene.holding(f"{t}", "audio", "avt") == scene.holding(f"{t}", "text", "avt") == list(starts)
    assert scene.starts("avt") == list(starts)
    assert scene.holding("50", "text", "avt") == [-1_500, -1_000, -500, 0]
    assert scene.fates("text") == ["windowed", "windowed"]
    assert scene.outcome() == scene.oracle_outcome()
