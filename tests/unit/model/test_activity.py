"""Audible spans of a mixed-in recording."""

from __future__ import annotations

import numpy as np
import pytest

from model.data.scene import find_audible_spans

RATE = 8_000


def loud(begin: float, end: float, level: float = 1000.0, seconds: float = 4.0) -> np.ndarray:
    samples = np.zeros(round(seconds * RATE), np.float32)
    samples[round(begin * RATE) : round(end * RATE)] = level
    return samples


def test_a_bark_in_a_clip_is_audible_half_a_second_before_and_after() -> None:
    # clip    |---------####----------|   0 to 4 s, loud from 1.5 to 2.0
    assert find_audible_spans(np.zeros(4 * RATE, np.float32), loud(1.5, 2.0), 0, 4) == [(1.0, 2.5)]


def test_the_pauses_between_ticks_belong_to_the_clock() -> None:
    ticks = sum((loud(tick_s, tick_s + 0.1) for tick_s in (0.5, 1.5, 2.5)), start=np.zeros(4 * RATE, np.float32))
    assert find_audible_spans(np.zeros(4 * RATE, np.float32), ticks, 0, 4) == [(0.0, 3.25)]


@pytest.mark.parametrize(("bed", "audible"), [(1000.0, True), (3000.0, False)])
def test_masked_audio_is_not_audible(bed: float, audible: bool) -> None:
    before = loud(0, 4, bed)
    assert bool(find_audible_spans(before, before + loud(1, 2), 0, 4)) is audible


def test_nothing_is_audible_outside_the_clip() -> None:
    assert find_audible_spans(np.zeros(4 * RATE, np.float32), loud(0, 0.25), 0.1, 0.4) == [(0.1, 0.4)]
    assert find_audible_spans(np.zeros(4 * RATE, np.float32), np.zeros(4 * RATE, np.float32), 0, 4) == []
