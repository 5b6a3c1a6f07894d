"""What each level leaves out of a window, and the level that the prediction records."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from services.contract.window import Member, Window, WindowMembers
from services.fusion.load_shedding import DegradedInput, degrade

SLOT_US = 500_000
MODALITIES = ("text", "video", "audio")


def window(start_us: int, frames: list[int], texts: int = 1, sounds: int = 2) -> Window:
    def lane(modality: str, times: list[int]) -> WindowMembers:
        members = tuple(Member(modality, str(t), t, 0, "0", 0, t) for t in times)
        return WindowMembers("present" if members else "absent", "data", 0, members)

    inside = [t for t in frames if start_us <= t < start_us + 4 * SLOT_US]
    lanes = {
        "text": lane("text", [start_us + n for n in range(texts)]),
        "video": lane("video", inside),
        "audio": lane("audio", [start_us + n * SLOT_US for n in range(sounds)]),
    }
    return Window("s", start_us, start_us + 4 * SLOT_US, None, True, "c", lanes, 0, 0)


def left(w: Window, level: int) -> DegradedInput:
    return degrade(w, level, MODALITIES, lambda: "audio", SLOT_US)


def test_a_prediction_of_a_whole_window_is_of_level_0_at_any_load() -> None:
    for level in (0, 1):
        assert left(window(0, [10, 20, 600_000]), level).level == 0
    assert left(window(0, [10]), 2).level == 0
    assert left(window(0, [10], texts=0, sounds=0), 3).level == 0


def test_level_2_leaves_out_frames_and_nothing_else() -> None:
    whole, fewer = left(window(0, [10, 20, 600_000, 1_100_000]), 0), left(window(0, [10, 20, 600_000, 1_100_000]), 2)
    assert fewer.level == 2
    assert [m.t_us for m in fewer.members["video"]] == [20, 1_100_000]
    assert {m: fewer.members[m] for m in ("text", "audio")} == {m: whole.members[m] for m in ("text", "audio")}


def test_the_newest_frame_is_used_if_all_frames_are_in_skipped_slots() -> None:
    assert [m.t_us for m in left(window(0, [600_000, 700_000]), 2).members["video"]] == [700_000]


def test_level_3_leaves_out_the_costliest_modality_unless_it_is_the_only_one() -> None:
    cheap = left(window(0, [10, 20]), 3)
    assert (cheap.level, cheap.skipped, cheap.members["audio"]) == (3, frozenset({"audio"}), [])
    assert [m.t_us for m in cheap.members["video"]] == [20]
    alone = left(window(0, [], texts=0), 3)
    assert (alone.level, alone.skipped, len(alone.members["audio"])) == (0, frozenset(), 2)


@given(st.lists(st.integers(0, 9_999_999), min_size=1, max_size=40, unique=True))
def test_overlapping_windows_use_the_same_frames_so_that_half_need_not_be_encoded(times: list[int]) -> None:
    frames = sorted(times)
    sets_of_even: list[set[int]] = []
    for start_us in range(0, 8_000_000, SLOT_US):
        w = window(start_us, frames)
        frame_times = {m.t_us for m in left(w, 2).members["video"]}
        even = {t for t in frame_times if t // SLOT_US % 2 == 0}
        assert frame_times == even or len(frame_times) == 1
        assert bool(frame_times) == bool(w.modalities["video"].members)
        sets_of_even.append(even)
    for one, after in pairwise(sets_of_even):
        assert all(t in after or t // SLOT_US not in {x // SLOT_US for x in after} for t in one)


@given(st.lists(st.integers(0, 1_999_999), max_size=8, unique=True), st.integers(0, 2), st.integers(0, 3))
def test_the_level_of_a_prediction_reproduces_it(frames: list[int], texts: int, level: int) -> None:
    w = window(0, sorted(frames), texts)
    once = left(w, level)
    assert once.level <= level
    assert left(w, once.level) == once
