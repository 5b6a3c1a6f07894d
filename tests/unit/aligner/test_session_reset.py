"""A reset begins a session anew: log by log, once, and also for an aligner that starts in between."""

from __future__ import annotations

from services.aligner.alignment import Aligner
from services.contract.session_reset import generation_id, split_generation_id
from services.contract.window import encode
from tests.unit.aligner.timeline import SEMANTICS, Line

DAY = 86_400_000


def ran_ahead() -> Line:
    """A session whose watermarks are a day ahead, with an open window there, and that is reset as generation 7."""
    line = Line()
    line.audio(DAY)
    line.video(DAY)
    assert line.audio(0) == line.video(0) == "late"
    for modality in ("audio", "video"):
        line.reset(modality, 7)
    return line


def test_a_reset_in_each_log_closes_the_old_windows_and_aligns_anew() -> None:
    line = ran_ahead()
    assert line.starts() == [DAY - 50, DAY]
    assert line.audio(0, 100) == line.video(20) == "windowed"
    for modality in ("audio", "video"):
        line.tick(modality, 200, session=generation_id("s", 7))
    new = [window for window in line.out if window.generation]
    assert [(window.session, window.start_us) for window in new] == [("s", -50_000), ("s", 0), ("s", 50_000)]
    assert new[0].previous_us is None
    assert new[1].id == "s/0/1~7"
    assert line.aligner.last_emitted_us == {"s": DAY * 1000, generation_id("s", 7): 50_000}


def test_what_stands_before_the_reset_in_its_own_log_belongs_to_the_old_generation() -> None:
    line = Line()
    line.video(10)
    line.reset("video", 7)
    assert line.audio(0, 100) == "windowed"  # the reset has not come in this log
    line.reset("audio", 7)
    assert line.starts() == [-50, 0, 50]
    assert {window.generation for window in line.out} == {0}


def test_a_repeated_and_an_older_reset_change_nothing() -> None:
    line = ran_ahead()
    assert line.audio(0) == "windowed"
    before = len(line.out)
    line.reset("audio", 7)
    line.reset("audio", 3)
    assert line.audio(50) == "windowed"
    assert len(line.out) == before


def test_an_idle_record_of_the_old_generation_does_not_act_on_the_new_one() -> None:
    line = ran_ahead()
    line.tick("audio", DAY)
    assert line.audio(0) == "windowed"


def test_an_aligner_that_reads_on_behind_the_resets_knows_the_generation() -> None:
    line = ran_ahead()
    starts = line.aligner.generations.unrecorded
    assert [(start.modality, start.generation) for start in starts] == [("audio", 7), ("video", 7)]
    positions = {start.modality: start.offset + 1 for start in starts}
    again = Aligner(SEMANTICS, {"s": DAY * 1000}, starts, positions)
    assert again.generations.id_at("s", "audio", positions["audio"]) == generation_id("s", 7)
    assert again.generations.id_at("s", "audio", 0) == "s"
    assert again.generations.id_at("other", "audio", 9) == "other"


def test_an_aligner_that_reads_a_reset_again_closes_the_same_windows_with_the_same_bytes() -> None:
    first, again = Line(), Line()
    for line in (first, again):
        line.audio(0)
        line.video(10)
        if line is again:
            # The records of the generation were written before a crash, and the offsets were not committed.
            line.aligner = Aligner(SEMANTICS, {}, first.aligner.generations.unrecorded, {"audio": 0, "video": 0})
            line._offsets = dict.fromkeys(line._offsets, 0)
            line.audio(0)
            line.video(10)
        line.reset("audio", 7)
        line.reset("video", 7)
    assert [encode(window) for window in first.out] == [encode(window) for window in again.out]
    assert again.aligner.generations.unrecorded == []


def test_the_offsets_of_a_closed_generation_are_released() -> None:
    line = ran_ahead()
    assert all(not len(retained) for retained in line.aligner.retained.values())
    assert line.aligner.sessions == {}
    assert line.aligner.windows_open == 0


def test_a_generation_id_is_split_into_its_parts() -> None:
    assert split_generation_id(generation_id("a room", 12)) == ("a room", 12)
    assert split_generation_id("a room") == ("a room", 0)
    assert split_generation_id("a\x01" + "9" * 5_000) == ("a", 0)
