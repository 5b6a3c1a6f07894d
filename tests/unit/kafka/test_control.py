"""What was said of a session: which windows must be answered without which senses, and what is forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.contract import mute_and_forget
from services.contract.mute_and_forget import SPANS_MAX, Control
from services.contract.window import Window, WindowMembers

S = 1_000_000
NOTHING = Control("s")


def window(start_s: int, arrived_s: int | None = None) -> Window:
    """Two seconds of all senses; its members come as they are captured, or from another moment on."""
    arrived_s = start_s if arrived_s is None else arrived_s
    lanes = {m: WindowMembers("present", "data", 0, ()) for m in ("text", "video", "audio")}
    times = (start_s * S, (start_s + 2) * S, None, True, "c", lanes, arrived_s * S, (arrived_s + 3) * S)
    return Window("s", *times)


def muted(said: Control, start_s: int, arrived_s: int | None = None) -> set[str]:
    return set(said.with_mutes(window(start_s, arrived_s)).muted)


def test_while_a_sense_is_muted_no_window_is_answered_with_it_however_old() -> None:
    said = NOTHING.mute(["audio"], 100 * S)
    assert muted(NOTHING, 10) == set()
    assert muted(said, 10) == muted(said, 200) == {"audio"}


def test_after_an_unmute_windows_that_hold_what_was_captured_or_came_while_muted_stay_without_it() -> None:
    said = NOTHING.mute(["audio"], 100 * S).unmute(["audio"], 110 * S)
    assert muted(said, 94) == set(), "captured and closed before"
    assert muted(said, 99) == muted(said, 105) == muted(said, 109) == {"audio"}
    assert muted(said, 110) == muted(said, 120) == set()
    assert muted(said, 40, 105) == {"audio"}, "by a clock that is behind it was before"


def test_a_second_mute_leaves_the_first_one_as_it_is_and_an_unmute_needs_one() -> None:
    said = NOTHING.mute(["audio"], 100).mute(["audio", "video"], 200)
    assert said.muted_since_us == {"audio": 100, "video": 200}
    assert NOTHING.unmute(["audio"], 5) == NOTHING


def test_forgotten_windows_are_answered_without_any_sense() -> None:
    said = NOTHING.forget(100 * S)
    assert muted(said, 99) == {"text", "video", "audio"}
    assert muted(said, 100) == set()
    assert muted(said, 130, 99) == {"text", "video", "audio"}, "by a clock that runs ahead it was after"
    assert said.forget(50 * S) == said, "what is forgotten stays so"


@given(
    st.lists(st.tuples(st.sampled_from(["mute", "unmute", "forget"]), st.sampled_from(["audio", "video"])), max_size=60)
)
def test_a_record_says_all_and_whatever_was_captured_while_muted_stays_muted(steps: list[tuple[str, str]]) -> None:
    said, captured, on = NOTHING, [], set[str]()
    for n, (what, modality) in enumerate(steps):
        now_us = (n + 1) * 10
        if what == "forget":
            said = said.forget(now_us)
        else:
            said = said.mute([modality], now_us) if what == "mute" else said.unmute([modality], now_us)
            (on.add if what == "mute" else on.discard)(modality)
        captured += [(m, now_us + 5) for m in on]
        assert mute_and_forget.decode_or_none("s", mute_and_forget.encode(said)) == said
    assert set(said.muted_since_us) == on
    assert all(said.mutes(m, (t, t)) for m, t in captured)
    assert all(len(spans) <= SPANS_MAX for spans in said.past_mutes.values())


def test_muted_alone_is_enough_to_mute_and_what_is_no_record_says_nothing() -> None:
    assert mute_and_forget.decode_or_none("s", b'{"muted":["audio"]}') == Control("s", {"audio": 0})
    for bad in (
        b"",
        None,
        b"[]",
        b'{"muted":"audio"}',
        b'{"muted":[],"forgotten_before_us":"x"}',
        b'{"was_muted_us":[1]}',
    ):
        assert mute_and_forget.decode_or_none("s", bad) is None
