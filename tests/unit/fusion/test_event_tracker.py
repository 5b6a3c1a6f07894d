"""Guesses on early answers: said at once, from the final state on, and under the id that the final fold will give."""

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


def predicted(number: int, heard: str, texts: Texts, *, final: bool, alive: bool = False) -> WindowPrediction:
    """The window with this number on the hop grid: what its sound says, and texts by their second."""
    start_us = number * HOP_US
    held = {t: label for t, label in texts.items() if start_us <= t * 1e6 < start_us + SIZE_US}
    sha256 = EMPTY_SHA256 if alive else "5e"
    members = tuple(Member("text", str(t), int(t * 1e6), 0, sha256, 0, 0) for t in held)
    rows = np.tile(PRIOR, (4, 1))
    if held and not alive:
        rows[1] = np.log(SAYS[next(iter(held.values()))])
    rows[2] = np.log(SAYS[heard])
    rows[3] = rows[1] + rows[2] - PRIOR
    rows -= np.log(np.exp(rows).sum(1, keepdims=True))
    p = np.exp(rows[3])
    top = tuple((LABELS[i], float(p[i])) for i in np.argsort(-p))
    lanes = {"text": WindowMembers("present", None, None, members), "audio": WindowMembers("present", "data", None, ())}
    before_us = (number - 1) * HOP_US if number else None
    window = Window("kitchen", start_us, start_us + SIZE_US, before_us, final, "c", lanes, 0, 0)
    answer = PredictionResult(top[0][0], top[0][1], 0.0, 0.0, top, 0.0, None, False)
    return WindowPrediction(f"p{number}{'f' if final else 'e'}", window, b"", answer, rows, (), SENSES, LABELS)


def early(chains: EventTracker, heard: Sequence[str], come: Sequence[Texts], first: int = 0) -> list[Event]:
    said: list[Event] = []
    for number, (label, texts) in enumerate(zip(heard, come, strict=True), first):
        said += chains.update(predicted(number, label, texts, final=False))
    return said


def final(chains: EventTracker, heard: Sequence[str], texts: Texts) -> list[Event]:
    return [e for n, label in enumerate(heard) for e in chains.update(predicted(n, label, texts, final=True))]


def lives(events: Sequence[Event]) -> list[tuple[str, str, str]]:
    return [(e.id, e.lifecycle, e.label) for e in events]


def test_a_sentence_that_misses_an_early_prediction_begins_its_event_with_the_first_window_it_belongs_to() -> None:
    # window    0 1 2 3 4 5     the sentence of 2.2 s belongs to windows 1 to 4
    # it comes        *         after the early answer of window 2
    # heard     - - - - - -
    sentence = {2.2: "7"}
    guesses, truth = EventTracker(DECISION), EventTracker(DECISION)
    said = early(guesses, "------", [{}] * 3 + [sentence] * 3)
    meant = final(truth, "------", sentence)
    assert lives(said) == [("kitchen/500", "new", "7")] == lives(meant)[:1]
    assert not said[0].final
    assert said[0].prediction == "p3e", "it names the answer that led to it"


def test_alive_signals_revise_nothing() -> None:
    before = EarlyPrediction(predicted(0, "-", {}, final=False))
    before.revise(predicted(1, "-", {1.5: "7"}, final=False, alive=True))
    assert before.revised_log_p is None


def test_a_revised_early_prediction_equals_the_prediction_of_the_whole_window() -> None:
    before = EarlyPrediction(predicted(0, "dog", {}, final=False))
    whole = predicted(0, "dog", {1.5: "dog"}, final=True)
    before.revise(predicted(1, "-", {1.5: "dog"}, final=False))
    assert dict(before.top) == pytest.approx(dict(whole.result.top), abs=2e-6)


def test_the_nearest_window_with_the_late_members_revises_an_early_prediction() -> None:
    before = EarlyPrediction(predicted(0, "-", {}, final=False))
    before.revise(predicted(1, "-", {1.5: "7"}, final=False))
    heard = dict(before.top)
    # Window 3 holds the sentence too, and another one that window 0 will never hold.
    before.revise(predicted(3, "-", {3.0: "dog", 1.5: "7"}, final=False))
    assert dict(before.top) == heard
    assert heard["7"] > heard["dog"]


def test_an_event_that_goes_on_is_not_published_provisionally_again() -> None:
    # final   dog dog
    # early           dog dog dog
    chains = EventTracker(DECISION)
    assert [e.lifecycle for e in final(chains, ["dog", "dog"], {})] == ["new"]
    assert early(chains, ["dog"] * 3, [{}] * 3, first=2) == []


def test_provisional_events_start_from_the_last_final_state() -> None:
    # final   -                     it says that window 0 was nothing, as the early answer had not
    # early   dog   - -
    chains = EventTracker(DECISION)
    assert lives(early(chains, ["dog"], [{}])) == [("kitchen/0", "new", "dog")]
    final(chains, ["-"], {})
    assert early(chains, ["-", "-", "dog"], [{}] * 3, first=1)[0].id == "kitchen/1500"


def test_a_provisional_event_is_published_once_and_not_at_all_if_late() -> None:
    chains = EventTracker(DECISION)
    said = early(chains, ["dog"] * 4, [{}] * 4)
    assert lives(said) == [("kitchen/0", "new", "dog")]
    final(chains, ["dog"] * 6, {})
    assert chains.update(predicted(3, "7", {}, final=False)) == ()


def test_early_predictions_may_need_a_higher_score_than_final_ones() -> None:
    # score of the dog  .49 .73 .85
    careful = replace(DECISION, early_on=0.8)
    heard = ["dog"] * 3
    assert [e.prediction for e in early(EventTracker(DECISION), heard, [{}] * 3)] == ["p0e"]
    assert [e.prediction for e in early(EventTracker(careful), heard, [{}] * 3)] == ["p2e"]
    assert [e.prediction for e in final(EventTracker(careful), heard, {})] == ["p0f"]


def test_an_early_prediction_changes_no_state() -> None:
    chains = EventTracker(DECISION)
    final(chains, ["dog", "dog"], {})
    before = chains.states["kitchen"].encode()
    early(chains, ["7", "7"], [{}] * 2, first=2)
    assert chains.states["kitchen"].encode() == before
