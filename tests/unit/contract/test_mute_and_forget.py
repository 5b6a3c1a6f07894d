"""The control state of a session: muted modalities of windows, and forgotten time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.contract import mute_and_forget
from services.contract.mute_and_forget import SPANS_MAX, Control
from services.contract.window import Window, WindowMembers

S = 1_000_000
UNMUTED = Control("s")


def window(start_s: int, arrived_s: int | None = None) -> Window:
    """Return a window of two seconds with all modalities; members arrive when captured, or from `arrived_s` on."""
    arrived_s = start_s if arrived_s is None else arrived_s
    lanes = {m: WindowMembers("present", "data", 0, ()) for m in ("text", "video", "audio")}
    times = (start_s * S, (start_s + 2) * S, None, True, "c", lanes, arrived_s * S, (arrived_s + 3) * S)
    return Window("s", *times)


def muted(control: Control, start_s: int, arrived_s: int | None = None) -> set[str]:
    return set(control.with_mutes(window(start_s, arrived_s)).muted)


def test_a_muted_modality_is_muted_in_windows_of_any_age() -> None:
    control = UNMUTED.mute(["audio"], 100 * S)
    assert muted(UNMUTED, 10) == set()
    assert muted(control, 10) == muted(control, 200) == {"audio"}


def test_after_an_unmute_windows_with_members_captured_or_received_while_muted_stay_muted() -> None:
    control = UNMUTED.mute(["audio"], 100 * S).unmute(["audio"], 110 * S)
    assert muted(control, 94) == set(), "captured and closed before"
    assert muted(control, 99) == muted(control, 105) == muted(control, 109) == {"audio"}
    assert muted(control, 110) == muted(control, 120) == set()
    assert muted(control, 40, 105) == {"audio"}, "captured before by a clock that is behind"


def test_a_second_mute_does_not_change_the_first_and_an_unmute_alone_changes_nothing() -> None:
    control = UNMUTED.mute(["audio"], 100).mute(["audio", "video"], 200)
    assert control.muted_since_us == {"audio": 100, "video": 200}
    assert UNMUTED.unmute(["audio"], 5) == UNMUTED


def test_all_modalities_of_a_forgotten_window_are_muted() -> None:
    control = UNMUTED.forget(100 * S)
    assert muted(control, 99) == {"text", "video", "audio"}
    assert muted(control, 100) == set()
    assert muted(control, 130, 99) == {"text", "video", "audio"}, "captured after by a clock that is ahead"
    assert control.forget(50 * S) == control, "an earlier forget changes nothing"


@given(
    st.lists(st.tuples(st.sampled_from(["mute", "unmute", "forget"]), st.sampled_from(["audio", "video"])), max_size=60)
)
def test_a_record_holds_the_whole_state_and_media_captured_while_muted_stay_muted(steps: list[tuple[str, str]]) -> None:
    control, captured, muted_now = UNMUTED, [], set[str]()
    for n, (what, modality) in enumerate(steps):
        now_us = (n + 1) * 10
        if what == "forget":
            control = control.forget(now_us)
        else:
            control = control.mute([modality], now_us) if what == "mute" else control.unmute([modality], now_us)
            (muted_now.add if what == "mute" else muted_now.discard)(modality)
        captured += [(m, now_us + 5) for m in muted_now]
        assert mute_and_forget.decode_or_none("s", mute_and_forget.encode(control)) == control
    assert set(control.muted_since_us) == muted_now
    assert all(control.mutes(m, (t, t)) for m, t in captured)
    assert all(len(spans) <= SPANS_MAX for spans in control.past_mutes.values())


def test_a_record_needs_only_its_muted_field_and_an_invalid_one_is_ignored() -> None:
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
