"""Provisional events: published at once on an early prediction, under the id that the final event will have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from services.contract.chunk import EMPTY_SHA256
from services.contract.event import Event
from services.contract.prediction import PredictionResult
from services.contract.window import Member, Window, WindowMembers
from services.fusion.event_detector import EventDetector
from services.fusion.event_tracker import EarlyPrediction, EventTracker
from services.fusion.stage_values import WindowPrediction

HOP_US, SIZE_US = 500_000, 2_000_000
SENSES, LABELS = ("text", "audio"), ("nothing", "7", "dog")
KINDS = {"nothing": "nothing", "7": "digit", "dog": "sound"}
DECISION = EventDetector("nothing", KINDS, 0.5, 0.4, 0.1, 0.5, 1_000_000, 1_500_000, 10_000_000, 10_000_000)
PRIOR = np.log([0.6, 0.2, 0.2])
SAYS = {"7": [0.01, 0.98, 0.01], "dog": [0.01, 0.01, 0.98], "-": [0.98, 0.01, 0.01]}
Texts = Mapping[float, str]


def predicted(number: int, audio_labels: str, texts: Texts, *, final: bool, alive: bool = False) -> WindowPrediction:
    """Return a prediction of the window with this number; texts are by their second."""
    start_us = number * HOP_US
    members_s = {t: label for t, label in texts.items() if start_us <= t * 1e6 < start_us + SIZE_US}
    sha256 = EMPTY_SHA256 if alive else "5e"
    members = tuple(Member("text", str(t), int(t * 1e6), 0, sha256, 0, 0) for t in members_s)
    rows = np.tile(PRIOR, (4, 1))
    if members_s and not alive:
        rows[1] = np.log(SAYS[next(iter(members_s.values()))])
    rows[2] = np.log(SAYS[audio_labels])
    rows[3] = rows[1] + rows[2] - PRIOR
    rows -= np.log(np.exp(rows).sum(1, keepdims=True))
    p = np.exp(rows[3])
    top = tuple((LABELS[i], float(p[i])) for i in np.argsort(-p))
    lanes = {"text": WindowMembers("present", None, None, members), "audio": WindowMembers("present", "data", None, ())}
    before_us = (number - 1) * HOP_US if number else None
    window = Window("kitchen", start_us, start_us + SIZE_US, before_us, final, "c", lanes, 0, 0)
    answer = PredictionResult(top[0][0], top[0][1], 0.0, 0.0, top, 0.0, None, False)
    return WindowPrediction(f"p{number}{'f' if final else 'e'}", window, b"", answer, rows, (), SENSES, LABELS)


def early(
    tracker: EventTracker, audio_labels: Sequence[str], texts_by_window: Sequence[Texts], first: int = 0
) -> list[Event]:
    events: list[Event] = []
    for number, (label, texts) in enumerate(zip(audio_labels, texts_by_window, strict=True), first):
        events += tracker.update(predicted(number, label, texts, final=False))
    return events


def final(tracker: EventTracker, audio_labels: Sequence[str], texts: Texts) -> list[Event]:
    return [e for n, label in enumerate(audio_labels) for e in tracker.update(predicted(n, label, texts, final=True))]


def lifecycles(events: Sequence[Event]) -> list[tuple[str, str, str]]:
    return [(e.id, e.lifecycle, e.label) for e in events]


def test_a_sentence_that_misses_an_early_prediction_begins_its_event_with_the_first_window_it_belongs_to() -> None:
    # window    0 1 2 3 4 5     the sentence of 2.2 s belongs to windows 1 to 4
    # arrival         *         after the early prediction of window 2
    # audio     - - - - - -
    sentence = {2.2: "7"}
    tracker, final_tracker = EventTracker(DECISION), EventTracker(DECISION)
    events = early(tracker, "------", [{}] * 3 + [sentence] * 3)
    expected = final(final_tracker, "------", sentence)
    assert lifecycles(events) == [("kitchen/0-1", "new", "7")] == lifecycles(expected)[:1]
    assert not events[0].final
    assert events[0].prediction == "p3e", "it names the prediction that led to it"


def test_alive_signals_revise_nothing() -> None:
    prediction = EarlyPrediction(predicted(0, "-", {}, final=False))
    prediction.revise(predicted(1, "-", {1.5: "7"}, final=False, alive=True))
    assert prediction.revised_log_p is None


def test_a_revised_early_prediction_equals_the_prediction_of_the_whole_window() -> None:
    prediction = EarlyPrediction(predicted(0, "dog", {}, final=False))
    whole = predicted(0, "dog", {1.5: "dog"}, final=True)
    prediction.revise(predicted(1, "-", {1.5: "dog"}, final=False))
    assert dict(prediction.top) == pytest.approx(dict(whole.result.top), abs=2e-6)


def test_the_nearest_window_with_the_late_members_revises_an_early_prediction() -> None:
    prediction = EarlyPrediction(predicted(0, "-", {}, final=False))
    prediction.revise(predicted(1, "-", {1.5: "7"}, final=False))
    audio_labels = dict(prediction.top)
    # Window 3 holds the sentence too, and another one that window 0 will never hold.
    prediction.revise(predicted(3, "-", {3.0: "dog", 1.5: "7"}, final=False))
    assert dict(prediction.top) == audio_labels
    assert audio_labels["7"] > audio_labels["dog"]


def test_an_event_that_goes_on_is_not_published_provisionally_again() -> None:
    # final   dog dog
    # early           dog dog dog
    tracker = EventTracker(DECISION)
    assert [e.lifecycle for e in final(tracker, ["dog", "dog"], {})] == ["new"]
    assert early(tracker, ["dog"] * 3, [{}] * 3, first=2) == []


def test_a_provisional_event_that_its_final_prediction_does_not_show_is_withdrawn() -> None:
    # final   -                     window 0 is nothing, unlike its early prediction
    # early   dog   - -
    tracker = EventTracker(DECISION)
    assert lifecycles(early(tracker, ["dog"], [{}])) == [("kitchen/0-1", "new", "dog")]
    (withdrawn,) = final(tracker, ["-"], {})
    assert (withdrawn.lifecycle, withdrawn.id, withdrawn.final) == ("withdrawn", "kitchen/0-1", False)
    assert withdrawn.prediction == "p0f"
    again = early(tracker, ["-", "-", "dog"], [{}] * 3, first=1)
    assert lifecycles(again) == [("kitchen/0-1", "new", "dog")], (
        "it starts from the last final state, and is published anew"
    )
    assert again[0].start_us == 3 * HOP_US + DECISION.lead_us


def test_a_final_event_that_begins_with_a_later_window_keeps_the_id_of_the_provisional_one() -> None:
    # early   dog dog
    # final   -   dog
    tracker = EventTracker(DECISION)
    provisional = early(tracker, ["dog", "dog"], [{}] * 2)
    confirmed = final(tracker, ["-", "dog"], {})
    assert lifecycles(provisional) == lifecycles(confirmed) == [("kitchen/0-1", "new", "dog")]
    assert provisional[0].start_us < confirmed[0].start_us


def test_a_provisional_event_is_published_once_and_not_at_all_if_late() -> None:
    tracker = EventTracker(DECISION)
    events = early(tracker, ["dog"] * 4, [{}] * 4)
    assert lifecycles(events) == [("kitchen/0-1", "new", "dog")]
    final(tracker, ["dog"] * 6, {})
    assert tracker.update(predicted(3, "7", {}, final=False)) == ()


def test_early_predictions_may_need_a_higher_score_than_final_ones() -> None:
    # score of the dog  .49 .73 .85
    careful = replace(DECISION, early_on=0.8)
    audio_labels = ["dog"] * 3
    assert [e.prediction for e in early(EventTracker(DECISION), audio_labels, [{}] * 3)] == ["p0e"]
    assert [e.prediction for e in early(EventTracker(careful), audio_labels, [{}] * 3)] == ["p2e"]
    assert [e.prediction for e in final(EventTracker(careful), audio_labels, {})] == ["p0f"]


def test_an_early_prediction_changes_no_state() -> None:
    tracker = EventTracker(DECISION)
    final(tracker, ["dog", "dog"], {})
    prediction = tracker.states["kitchen"].encode()
    early(tracker, ["7", "7"], [{}] * 2, first=2)
    assert tracker.states["kitchen"].encode() == prediction
