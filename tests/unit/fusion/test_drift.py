"""Confidence drift of a modality: low if unchanged, high after a change, low again when the change is the new normal."""

from __future__ import annotations

import random

from services.fusion.metrics import MIN_WINDOWS, PAST, RECENT, ConfidenceDrift


def observe_windows(drift: ConfidenceDrift, windows: int, mean: float, seed: int = 7) -> float:
    """Observe windows with about this confidence and return the drift score."""
    rng = random.Random(seed)
    for _ in range(windows):
        drift.observe("video", min(max(rng.gauss(mean, 0.1), 0.0), 1.0))
    return drift.scores()["video"]


def test_a_modality_with_unchanged_confidence_does_not_drift() -> None:
    drift = ConfidenceDrift()
    assert observe_windows(drift, PAST, 0.8) < 0.03
    assert observe_windows(drift, RECENT, 0.8, seed=8) < 0.03


def test_a_change_is_seen_within_ten_minutes_and_is_the_new_normal_after_a_day() -> None:
    drift = ConfidenceDrift()
    observe_windows(drift, 10_000, 0.9)
    assert observe_windows(drift, RECENT, 0.4) > 0.2
    assert observe_windows(drift, 6 * PAST, 0.4) < 0.05


def test_drift_is_zero_until_there_is_a_past() -> None:
    drift = ConfidenceDrift()
    assert observe_windows(drift, MIN_WINDOWS - RECENT, 0.9) == 0
    assert observe_windows(drift, RECENT - 1, 0.2) == 0
    assert observe_windows(drift, 1, 0.2) > 0


def test_modalities_drift_independently() -> None:
    drift = ConfidenceDrift()
    for n in range(10_000 + RECENT):
        drift.observe("audio", 0.5)
        drift.observe("video", 0.9 if n < 10_000 else 0.1)
    assert drift.scores()["audio"] == 0
    assert drift.scores()["video"] > 0.2
