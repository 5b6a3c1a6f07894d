"""Scoring of detected events: one to one, same kind and label, from half a second before to two seconds after."""

from __future__ import annotations

import pytest

from services.offline.evaluation.event_scoring import DetectedEvent, TrueEvent, score_events

TRUE = [TrueEvent(10, 12.7, "digit", "7"), TrueEvent(20, 24, "sound", "dog")]


def detected_event(start: float, label: str, kind: str = "digit", decided: float = 12) -> DetectedEvent:
    return DetectedEvent(start, kind, label, decided)


@pytest.mark.parametrize(("start", "hit"), [(9.49, 0), (9.5, 1), (14.7, 1), (14.71, 0)])
def test_the_start_must_lie_in_the_span_of_the_true_event(start: float, hit: int) -> None:
    assert score_events([detected_event(start, "7")], TRUE, 0, 60).hits == hit


def test_a_wrong_label_or_kind_is_no_hit() -> None:
    assert score_events([detected_event(10, "3"), detected_event(20, "dog", "digit")], TRUE, 0, 60).hits == 0


def test_two_of_the_same_are_one_hit_and_one_false() -> None:
    scores = score_events(
        [detected_event(10, "7"), detected_event(11, "7"), detected_event(20, "dog", "sound")], TRUE, 0, 60
    )
    assert (scores.hits, scores.detected, scores.true) == (2, 3, 2)
    assert scores.f1 == pytest.approx(4 / 5)


def test_an_event_at_the_edge_counts_neither_as_missed_nor_as_false() -> None:
    scores = score_events([detected_event(10, "7"), detected_event(20, "dog", "sound")], TRUE, 0, 22)
    assert (scores.hits, scores.detected, scores.true) == (1, 1, 1)


def test_no_detected_event_scores_0() -> None:
    assert score_events([], TRUE, 0, 60).f1 == 0
