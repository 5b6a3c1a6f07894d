"""The event detector at its exact thresholds. Scores are halved each window: weight 0.5, on 0.4, since 0.5."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.fusion.event_detector import DetectorState
from tests.unit.fusion.test_event_detector import DECISION, HOP_US, QUIET, Top, at, lifecycles, play

LEAD = DECISION.lead_us


def scores(state: DetectorState) -> list[tuple[str, float]]:
    return [(label, score.value) for label, score in state.scores]


def test_an_event_begins_at_the_threshold_exactly() -> None:
    assert lifecycles(play([{"7": 0.8}])[1]) == [("new", "7")]
    assert lifecycles(play([{"7": 0.799998}])[1]) == []


def test_scores_are_kept_to_a_millionth() -> None:
    state, _ = play([{"7": 0.1234567}])
    assert scores(state) == [("7", 0.061728)]


def test_scores_below_a_fiftieth_are_dropped() -> None:
    state, _ = play([{"7": 0.04, "4": 0.039998}])
    assert scores(state) == [("7", 0.02)]


# ten labels; "b" and "c" are as probable as each other
def test_the_eight_best_labels_are_stored_best_first_and_equal_ones_by_name() -> None:
    kinds = dict.fromkeys("abcdefghij", "sound")
    tops = dict.fromkeys("jihgfedcba", 0.3) | {"j": 0.4}
    state, _ = play([tops], replace(DECISION, kinds=kinds))
    assert [label for label, _ in scores(state)] == ["j", *"abcdefg"]


# window  0    1
# label   7 ?  7      score .25 = half of `since`: the run goes on;  just below: it begins anew
@pytest.mark.parametrize(("first", "since"), [(0.5, 0), (0.499998, 1)])
def test_a_run_goes_on_from_half_of_the_probability_that_begins_one(first: float, since: int) -> None:
    _, emitted = play([{"7": first}, {"7": 1.0}])
    assert [(event.lifecycle, event.start_us) for event in emitted] == [("new", since * HOP_US + LEAD)]
    assert emitted[0].end_us == HOP_US + LEAD


# scores  .25 .375 .6875
def test_an_event_begins_with_the_first_window_of_its_run_however_long_that_stayed_below() -> None:
    _, emitted = play([{"7": 0.5}, {"7": 0.5}, {"7": 1.0}])
    assert [(event.lifecycle, event.start_us, event.end_us) for event in emitted] == [("new", LEAD, 2 * HOP_US + LEAD)]


# scores  7: .50 .50     4: 0 .50
def test_an_equal_score_changes_nothing() -> None:
    state, emitted = play([{"7": 1.0}, {"7": 0.5, "4": 1.0}])
    assert scores(state) == [("4", 0.5), ("7", 0.5)]
    assert lifecycles(emitted) == [("new", "7")]


# scores  7: .50 .25 .125    4: 0 .30 .40
def test_another_label_takes_over_at_the_threshold_exactly() -> None:
    high = {"7": 1.0}, {"4": 0.6}, {"4": 0.5}
    assert lifecycles(play(high, replace(DECISION, on=0.4))[1]) == [("new", "7"), ("update", "4")]
    assert lifecycles(play(high, replace(DECISION, on=0.400001))[1]) == [("new", "7")]


# window  0 1 2       7 begins two hops, `change_us` exactly, after 4
# label   4 . 7
def test_a_label_that_began_exactly_change_us_later_is_a_correction() -> None:
    seen: list[Top] = [{"4": 1.0}, QUIET, {"7": 1.0}]
    _, emitted = play(seen)
    assert lifecycles(emitted) == [("new", "4"), ("update", "7")]
    assert (emitted[1].start_us, emitted[1].end_us, emitted[1].confidence) == (LEAD, 2 * HOP_US + LEAD, 0.5)
    _, emitted = play(seen, replace(DECISION, change_us=2 * HOP_US - 1))
    assert lifecycles(emitted) == [("new", "4"), ("end", "4"), ("new", "7")]


# scores  4: .50 .25 .125    7: 0 .30 .45     7 takes over in window 2, its run began in window 1
def test_every_run_begins_anew_after_an_end_but_that_of_the_next_event() -> None:
    state, emitted = play([{"4": 1.0}, {"7": 0.6}, {"7": 0.6}], replace(DECISION, change_us=0))
    assert lifecycles(emitted) == [("new", "4"), ("end", "4"), ("new", "7")]
    assert {label: score.since_us for label, score in state.scores} == {"7": HOP_US, "4": 2 * HOP_US}
    assert (emitted[2].start_us, emitted[2].end_us) == (HOP_US + LEAD, 2 * HOP_US + LEAD)


# scores  .50 .25
@pytest.mark.parametrize(("off", "ends"), [(0.25, []), (0.250001, [("end", "7")])])
def test_an_event_ends_below_the_threshold_and_not_at_it(off: float, ends: list[tuple[str, str]]) -> None:
    assert lifecycles(play([{"7": 1.0}, QUIET], replace(DECISION, off=off))[1]) == [("new", "7"), *ends]


# weight 1: nothing is left of a label as soon as it is not seen
def test_an_event_whose_label_vanished_ends_or_is_corrected() -> None:
    sharp = replace(DECISION, weight=1.0)
    assert lifecycles(play([{"7": 1.0}, QUIET], sharp)[1]) == [("new", "7"), ("end", "7")]
    assert lifecycles(play([{"7": 1.0}, {"4": 0.6}], sharp)[1]) == [("new", "7"), ("update", "4")]


# window  0   1   2   3...   1 is seen well enough, 2 just not
def test_an_event_lasts_to_the_last_window_in_which_it_was_probable_enough() -> None:
    for p, last in ((0.5, 1), (0.499998, 0)):
        _, emitted = play([{"7": 1.0}, {"7": p}, {"7": 0.4}, *[QUIET] * 4])
        assert lifecycles(emitted) == [("new", "7"), ("end", "7")]
        assert emitted[-1].end_us == last * HOP_US + LEAD


def test_the_confidence_of_an_event_is_the_best_that_its_label_had() -> None:
    state, emitted = play([{"7": 0.9}, {"7": 1.0}, {"7": 0.6}, *[QUIET] * 4])
    assert emitted[0].confidence == 0.45
    assert emitted[-1].confidence == 0.725
    assert state.open is None


def test_a_state_of_another_predecessor_is_not_continued() -> None:
    state, _ = play([{"7": 1.0}])
    following, _ = DECISION.update(state, at(1, {"7": 1.0}))
    assert scores(following) == [("7", 0.75)]
    for other in (at(1, {"7": 1.0}, previous=None), at(2, {"7": 1.0})):
        alone, _ = DECISION.update(state, other)
        assert scores(alone) == [("7", 0.5)]
        assert alone.chain_us == other.start_us
