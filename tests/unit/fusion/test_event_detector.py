"""The event detector: one event per occurrence, and a state that survives as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract import canonical
from services.contract.event import Event
from services.contract.record_fields import ContractError
from services.fusion.event_detector import DetectorInput, DetectorState, EventDetector

HOP_US, SIZE_US = 500_000, 2_000_000
KINDS = {"nothing": "nothing", "4": "digit", "7": "digit", "dog": "sound"}
DECISION = EventDetector(
    nothing="nothing",
    kinds=KINDS,
    weight=0.5,
    on=0.4,
    off=0.1,
    since=0.5,
    change_us=1_000_000,
    lead_us=1_500_000,
    expires_us=10_000_000,
    gap_us=10_000_000,
)
Top = dict[str, float]
QUIET: Top = {"nothing": 1.0}


def at(number: int, top: Top, previous: int | None = -1) -> DetectorInput:
    """Return the window with this number on the hop grid; by default its predecessor is the one before."""
    before = number - 1 if previous == -1 else previous
    order = tuple(sorted(top.items(), key=lambda item: (-item[1], item[0])))
    start_us = number * HOP_US
    previous_us = None if before is None or before < 0 else before * HOP_US
    return DetectorInput(f"prediction {number}", "kitchen", start_us, start_us + SIZE_US, previous_us, order)


def play(tops: Sequence[Top], decision: EventDetector = DECISION) -> tuple[DetectorState, list[Event]]:
    state: DetectorState | None = None
    emitted: list[Event] = []
    for number, top in enumerate(tops):
        state, events = decision.update(state, at(number, top))
        emitted += events
    assert state is not None
    return state, emitted


def lifecycles(events: Sequence[Event]) -> list[tuple[str, str]]:
    return [(event.lifecycle, event.label) for event in events]


def test_no_event_begins_with_a_prediction_that_abstains() -> None:
    state: DetectorState | None = None
    emitted: list[Event] = []
    abstaining = [True] * 6 + [False] * 2 + [True] * 2
    for number, abstained in enumerate(abstaining):
        label = "7" if number < 8 else "3"
        state, events = DECISION.update(state, replace(at(number, {label: 0.97}), abstained=abstained))
        emitted += events
    assert lifecycles(emitted) == [("new", "7")]
    assert emitted[0].prediction == "prediction 6"


def test_a_label_seen_for_a_while_is_one_event_from_its_first_window_on() -> None:
    # window  0 1 2 3 4 5 6 7 8 9
    # label   . . 7 7 7 7 . . . .
    state, emitted = play([QUIET] * 2 + [{"7": 0.95, "nothing": 0.05}] * 4 + [QUIET] * 4)
    assert lifecycles(emitted) == [("new", "7"), ("end", "7")]
    begun, ended = emitted
    assert begun.id == ended.id == "kitchen/0-1"
    assert begun.kind == "digit"
    assert begun.start_us == 2 * HOP_US + DECISION.lead_us
    assert begun.start_us <= ended.end_us == 5 * HOP_US + DECISION.lead_us
    assert begun.expires_us == begun_window_end(begun) + DECISION.expires_us
    assert state.open is None


def begun_window_end(event: Event) -> int:
    """Return the end of the window of the prediction that an event names."""
    return int(event.prediction.split()[1]) * HOP_US + SIZE_US


def test_one_doubtful_window_begins_nothing() -> None:
    _, emitted = play([QUIET, {"dog": 0.6, "nothing": 0.4}, QUIET, QUIET, QUIET])
    assert emitted == []


def test_one_missed_window_does_not_cut_an_event_in_two() -> None:
    # label   dog dog . dog dog
    dog = {"dog": 0.99, "nothing": 0.01}
    _, emitted = play([dog, dog, QUIET, dog, dog])
    assert lifecycles(emitted) == [("new", "dog")]


def test_another_label_soon_after_the_first_corrects_the_event() -> None:
    # window  0 1 2 3 4     the sentence arrives after the doubtful word and corrects the same event
    # label   4 7 7 7 7
    _, emitted = play([{"4": 0.85, "7": 0.1}] + [{"7": 0.99}] * 4)
    assert lifecycles(emitted) == [("new", "4"), ("update", "7")]
    assert emitted[0].id == emitted[1].id
    assert emitted[0].start_us == emitted[1].start_us


def test_another_label_later_ends_the_event_and_begins_a_new_one() -> None:
    # window  0 1 2 3 4 5 6 7 8
    # label   4 4 4 4 4 7 7 7 7
    _, emitted = play([{"4": 0.99}] * 5 + [{"7": 0.99}] * 4)
    assert lifecycles(emitted) == [("new", "4"), ("end", "4"), ("new", "7")]
    assert emitted[0].id == emitted[1].id != emitted[2].id
    assert emitted[1].prediction == emitted[2].prediction
    assert emitted[2].start_us == 5 * HOP_US + DECISION.lead_us


def test_the_same_label_again_after_a_pause_is_another_event() -> None:
    four = {"4": 0.99}
    _, emitted = play([four] * 4 + [QUIET] * 6 + [four] * 4)
    assert lifecycles(emitted) == [("new", "4"), ("end", "4"), ("new", "4")]
    assert emitted[0].id != emitted[2].id


def test_a_label_that_returns_before_its_score_vanished_does_not_reuse_the_id_of_the_ended_event() -> None:
    # window  0 1 2     score .50 .25 .63: below `off` the event ends, though its run of windows has no hole yet
    # label   4 . 4
    slack = replace(DECISION, off=0.3, since=0.2)
    _, emitted = play([{"4": 1.0}, QUIET, {"4": 1.0}], slack)
    assert lifecycles(emitted) == [("new", "4"), ("end", "4"), ("new", "4")]
    assert emitted[2].id != emitted[0].id
    assert emitted[2].start_us > emitted[0].start_us


def test_a_window_without_predecessor_starts_from_nothing() -> None:
    # window  0 1 2        30       the aligner names no predecessor when more than the gap lies between
    # label   4 4 4  ....  4
    state, _ = play([{"4": 0.99}] * 3)
    assert state.open is not None
    after, emitted = DECISION.update(state, at(30, {"4": 0.5}, previous=None))
    assert emitted == ()
    assert after.chain_us == after.last_us == 30 * HOP_US
    assert after.open is None
    assert dict(after.scores)["4"].value == 0.25


def test_a_missing_predecessor_starts_a_new_chain_and_the_state_says_so() -> None:
    state, _ = play([{"4": 0.99}] * 3)
    after, _ = DECISION.update(state, at(5, {"4": 0.99}, previous=4))
    assert after.chain_us == 5 * HOP_US
    following, _ = DECISION.update(after, at(6, QUIET))
    assert following.chain_us == 5 * HOP_US
    assert following.last_us == 6 * HOP_US


def test_nothing_is_never_an_event() -> None:
    _, emitted = play([QUIET] * 20)
    assert emitted == []


def test_a_provisional_event_is_marked_and_has_the_id_of_the_final_one() -> None:
    dog = {"dog": 0.99}
    _, early = DECISION.update(None, at(0, dog, previous=None), final=False)
    state, final = DECISION.update(None, at(0, dog, previous=None))
    assert [event.final for event in early] == [False]
    assert [event.final for event in final] == [True]
    assert early[0].id == final[0].id
    assert early[0].start_us == final[0].start_us
    assert state.open is not None


tops = st.lists(
    st.dictionaries(st.sampled_from(sorted(KINDS)), st.sampled_from((0.0, 0.123457, 0.4, 0.8, 1.0)), max_size=4),
    min_size=1,
    max_size=40,
)
decisions = st.builds(
    lambda weight, on, off, since, change: EventDetector(
        "nothing", KINDS, weight, on, min(off, on), since, change, 1_500_000, 10_000_000, 10_000_000
    ),
    st.sampled_from((0.35, 0.5, 0.65, 1.0)),
    st.sampled_from((0.2, 0.3, 0.5)),
    st.sampled_from((0.1, 0.2, 0.3)),
    st.sampled_from((0.2, 0.35, 0.5)),
    st.sampled_from((0, 1_000_000, 2_000_000)),
)


@given(tops, decisions)
def test_a_decoded_state_continues_identically(seen: list[Top], decision: EventDetector) -> None:
    live: DetectorState | None = None
    restored: DetectorState | None = None
    for number, top in enumerate(seen):
        live, emitted = decision.update(live, at(number, top))
        restored_next, restored_events = decision.update(restored, at(number, top))
        assert emitted == restored_events
        assert restored_next.encode() == live.encode()
        restored = DetectorState.decode(restored_next.encode())
        assert restored == restored_next
        assert canonical.dumps(canonical.loads(live.encode())) == live.encode()


@given(tops, decisions)
def test_lifecycles_are_in_order_and_no_id_is_used_twice(seen: list[Top], decision: EventDetector) -> None:
    _, emitted = play(seen, decision)
    begun: list[Event] = []
    open_id: str | None = None
    for event in emitted:
        if event.lifecycle == "new":
            assert open_id is None
            assert not begun or event.start_us > begun[-1].start_us
            assert event.id not in {other.id for other in begun}
            begun.append(event)
            open_id = event.id
        else:
            assert event.id == open_id
            open_id = None if event.lifecycle == "end" else open_id
        assert event.start_us <= event.end_us
        assert event.label != "nothing"
        assert 0 <= event.confidence <= 1


@given(tops)
def test_the_detector_does_not_change_its_arguments(seen: list[Top]) -> None:
    state, _ = play(seen)
    before = state.encode()
    DECISION.update(state, at(len(seen), {"7": 0.99}), final=False)
    assert state.encode() == before


def test_an_invalid_state_is_rejected() -> None:
    with pytest.raises(canonical.InvalidJson):
        DetectorState.decode(b"[1]")
    with pytest.raises(ContractError):
        DetectorState.decode(b'{"chain_us":0,"last_us":0}')
