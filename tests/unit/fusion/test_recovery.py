"""How far a fusion worker reads back. Windows of 10 every 5; admission accepts timestamps up to 100 ahead."""

from __future__ import annotations

import pytest

from services.contract import canonical
from services.contract.prediction import STATE_HEADER
from services.contract.session_reset import generation_id
from services.contract.window import Window
from services.fusion.event_detector import DetectorState
from services.fusion.recovery import UNREAD_US, keep_newest, look_back_us, state_of

FUTURE = 100
DIGEST, VALUE = "current", canonical.dumps({"model": {"digest": "current"}, "session": "s", "window": {}})
STATE = DetectorState(chain_us=5, last_us=20)
HEADERS = [("other", b"x"), (STATE_HEADER, STATE.encode())]


def window(start: int, previous: int | None, *, final: bool = True, session: str = "s") -> Window:
    return Window(session, start, start + 10, previous, final, "c", {}, 0, 0)


def look_back(
    *windows: Window, states: dict[str, DetectorState] | None = None, read_since: int = UNREAD_US
) -> int | None:
    return look_back_us(windows, states or {}, read_since, FUTURE)


def test_the_state_is_in_the_header_of_a_final_prediction_of_the_same_model() -> None:
    assert state_of(HEADERS, VALUE, DIGEST) == ("s", STATE)
    assert state_of(HEADERS, VALUE, "another model") is None


def test_the_state_of_a_session_that_was_reset_is_that_of_its_generation() -> None:
    value = canonical.dumps({"model": {"digest": DIGEST}, "session": "s", "window": {"generation": 7}})
    assert state_of(HEADERS, value, DIGEST) == (generation_id("s", 7), STATE)


def test_records_without_state_or_value_give_no_state() -> None:
    assert state_of(HEADERS[:1], VALUE, DIGEST) is None
    assert state_of(HEADERS, None, DIGEST) is None
    with pytest.raises(canonical.InvalidJson):
        state_of(HEADERS, b"no json", DIGEST)


def test_the_latest_state_counts_though_an_older_one_is_published_after_it() -> None:
    states: dict[str, DetectorState] = {}
    for last in (5, 20, 10):
        keep_newest(states, "s", DetectorState(5, last))
    keep_newest(states, "t", DetectorState(0, 1))
    assert states == {"s": DetectorState(5, 20), "t": DetectorState(0, 1)}


# the chain of s ends at 20; 25 follows it, and 30 follows that
def test_windows_that_follow_known_states_need_no_more_reading() -> None:
    assert look_back(window(25, 20), window(30, 25), states={"s": STATE}) is None


def test_a_window_without_predecessor_needs_nothing() -> None:
    assert look_back(window(0, None)) is None


# predecessor 25: nothing of it was appended before 25 - 100
def test_an_unknown_predecessor_is_read_as_far_back_as_it_can_be() -> None:
    assert look_back(window(30, 25), states={"s": STATE}) == 25 - FUTURE - 1
    assert look_back(window(30, 25)) == 25 - FUTURE - 1


def test_a_window_at_time_0_does_not_count_as_predicted() -> None:
    assert look_back(window(0, -5)) == -5 - FUTURE - 1
    assert look_back(window(-5, -10)) == -10 - FUTURE - 1


def test_states_that_were_read_are_not_read_again() -> None:
    assert look_back(window(30, 25), read_since=25 - FUTURE - 1) is None
    assert look_back(window(30, 25), read_since=25 - FUTURE) == 25 - FUTURE - 1


def test_the_session_that_needs_the_oldest_state_counts() -> None:
    needs = [window(30, 25), window(20, 15, session="t"), window(40, 35, session="u")]
    assert look_back(*needs) == 15 - FUTURE - 1
    assert look_back(*needs[::-1]) == 15 - FUTURE - 1


def test_early_and_known_windows_need_no_states_and_hide_none() -> None:
    early, answered, answered_long_ago = window(30, 25, final=False), window(20, 15), window(10, 5)
    assert look_back(early, answered, answered_long_ago, states={"s": STATE}) is None
    assert look_back(early, answered, window(35, 30), states={"s": STATE}) == 30 - FUTURE - 1


# 30 starts its own chain; an early prediction of 25 would not follow it, the copy of 30 is predicted
def test_a_queued_predecessor_counts_as_known() -> None:
    assert look_back(window(30, None), window(25, 20), window(30, 20), window(35, 30)) is None
