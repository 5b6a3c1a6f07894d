"""Tuning chooses the thresholds that detect most events among those with few false alarms."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from services.fusion.event_detector import DetectorInput, EventDetector
from services.offline.evaluation import tune_events
from services.offline.evaluation.event_scoring import read_truth
from services.offline.evaluation.run_stream import ORIGIN_US
from services.runtime.settings import ROOT

TRUTH = read_truth(ROOT / "data" / "homestream" / "S01.truth.json")
HOP_US, SIZE_US = 500_000, 2_000_000


def inputs_of(tops: dict[int, tuple[str, float]]) -> list[DetectorInput]:
    """Return two minutes of windows: these labels and probabilities by number, nothing elsewhere."""
    out = []
    for number in range(240):
        label, p = tops.get(number, ("nothing", 1.0))
        start_us = ORIGIN_US + number * HOP_US
        before_us = start_us - HOP_US if number else None
        out.append(DetectorInput(str(number), "s", start_us, start_us + SIZE_US, before_us, ((label, p),)))
    return out


def two_detectors() -> Iterator[EventDetector]:
    for on in (0.3, 0.6):
        yield tune_events.detector_with(0.5, on, 0.1, 0.2, 1_000_000, 1_000_000)


@pytest.fixture(autouse=True)
def _small_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune_events, "_grid", two_detectors)


# S01 begins with a 4 from 2.4 to 5.1 s. Here it is doubtful: its smoothed score stays below .6.
DOUBTFUL = dict.fromkeys(range(3, 8), ("4", 0.6))


def chosen_thresholds(silent: list[DetectorInput]) -> list[float]:
    return [d.on for d in tune_events._quiet_enough([(inputs_of(DOUBTFUL), TRUTH)], [silent])]


def test_without_false_alarms_the_thresholds_that_find_most_come_first() -> None:
    assert chosen_thresholds(inputs_of({})) == [0.3, 0.6]


def test_thresholds_that_find_more_but_raise_alarms_are_left_out() -> None:
    alarming = inputs_of({number: ("7", 0.6) for at in (10, 60, 110) for number in range(at, at + 4)})
    assert chosen_thresholds(alarming) == [0.6]


def test_the_detector_with_the_fewest_alarms_is_chosen_if_all_raise_too_many() -> None:
    sure = {number: ("7", 1.0) for at in (10, 60) for number in range(at, at + 4)}
    unsure = dict.fromkeys(range(110, 114), ("7", 0.6))
    assert chosen_thresholds(inputs_of(sure | unsure)) == [0.6]
