"""The drift of a sense: nothing while it goes on as before, much when it becomes another, little again once that is usual."""

from __future__ import annotations

import random

from services.fusion.metrics import BEFORE, FROM, LATELY, Drift


def play(drift: Drift, windows: int, middle: float, seed: int = 7) -> float:
    """So many windows of a sense that is about so sure; the score then."""
    rng = random.Random(seed)
    for _ in range(windows):
        drift.take("video", min(max(rng.gauss(middle, 0.1), 0.0), 1.0))
    return drift.scores()["video"]


def test_a_sense_that_goes_on_as_before_does_not_drift() -> None:
    drift = Drift()
    assert play(drift, BEFORE, 0.8) < 0.03
    assert play(drift, LATELY, 0.8, seed=8) < 0.03


def test_a_lens_that_fogs_up_is_seen_within_ten_minutes_and_is_what_is_usual_after_a_day() -> None:
    drift = Drift()
    play(drift, 10_000, 0.9)
    assert play(drift, LATELY, 0.4) > 0.2
    assert play(drift, 6 * BEFORE, 0.4) < 0.05


def test_nothing_is_said_before_there_is_a_before() -> None:
    drift = Drift()
    assert play(drift, FROM - LATELY, 0.9) == 0
    assert play(drift, LATELY - 1, 0.2) == 0
    assert play(drift, 1, 0.2) > 0


def test_senses_drift_each_for_itself() -> None:
    drift = Drift()
    for n in range(10_000 + LATELY):
        drift.take("audio", 0.5)
        drift.take("video", 0.9 if n < 10_000 else 0.1)
    assert drift.scores()["audio"] == 0
    assert drift.scores()["video"] > 0.2
