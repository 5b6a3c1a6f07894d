"""Twice the capacity for a minute, then half of it: waiting stays bounded, no final window is lost, and it is over at once.

In virtual time, with the product's own batcher, latency model and levels, before a stub device.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract.window import Window
from services.fusion.load_shedding import LoadShedder
from tests.unit.fusion.overloaded import BATCH_US, CAPACITY, DEADLINE_US, STEP_US, Answered, run, sessions

MINUTE_US = 60_000_000
WARM_US = 2_000_000
RECOVERED_US = 2_000_000


def final(answered: Sequence[Answered]) -> list[Answered]:
    return [a for a in answered if a.window.final]


def p99_ms(answered: Sequence[Answered]) -> float:
    return float(np.percentile([a.waited_us for a in answered], 99)) / 1000


def between(answered: Sequence[Answered], from_us: int, to_us: int) -> list[Answered]:
    return [a for a in answered if from_us <= a.over_us < to_us]


def goodput(answered: Sequence[Answered]) -> float:
    """Answers a second of the minute of overload, as a share of what the device can do at level 0."""
    held = between(answered, WARM_US, MINUTE_US)
    return sum(a.answered for a in held) / ((MINUTE_US - WARM_US) / 1e6) / CAPACITY


def lost(answered: Sequence[Answered]) -> list[Answered]:
    return [a for a in final(answered) if not a.answered]


def recovered(answered: Sequence[Answered], bound_us: int) -> bool:
    """Two seconds after the load fell all waits are short again, and nothing is left out."""
    after = [a for a in answered if a.arrived_us >= MINUTE_US + 700_000 + RECOVERED_US]
    return bool(after) and all(a.waited_us <= bound_us and a.level == 0 for a in after)


def overload(finals_per_s: float, *, early: bool, then: float) -> list[tuple[int, Window]]:
    """A minute at so many final windows a second (two a second for each session), then ten seconds at another rate."""
    busy = sessions(round(finals_per_s / 2), 0, MINUTE_US, 1, early=early)
    calm = sessions(round(then / 2), MINUTE_US, MINUTE_US + 10_000_000, 2, early=early)
    return [*busy, *calm]


def test_level_1_suffices_at_twice_the_capacity_if_half_is_early_windows() -> None:
    answered = run(overload(CAPACITY, early=True, then=CAPACITY / 4), level_max=1)
    assert not lost(answered)
    assert p99_ms(final(answered)) <= 2 * STEP_US / 1000
    assert goodput(answered) >= 0.95
    assert goodput(final(answered)) >= 0.95
    assert recovered(answered, DEADLINE_US + 2 * BATCH_US)
    assert max(a.level for a in answered) == 1


def test_levels_bound_the_wait_at_twice_the_capacity_in_final_windows() -> None:
    answered = run(overload(2 * CAPACITY, early=False, then=CAPACITY / 2), level_max=3, share=(1, 1, 0.7, 0.4))
    assert not lost(answered)
    assert p99_ms(answered) <= 3 * STEP_US / 1000 + 100
    assert goodput(answered) >= 0.95
    assert recovered(answered, DEADLINE_US + 2 * BATCH_US)
    assert {a.level for a in answered} >= {0, 2, 3}


def test_by_default_final_windows_beyond_the_capacity_lag_and_are_not_lost() -> None:
    answered = run(overload(2 * CAPACITY, early=False, then=CAPACITY / 2), level_max=1)
    assert not lost(answered)
    assert goodput(answered) >= 0.95
    assert max(a.waited_us for a in answered) > MINUTE_US / 4
    assert [a.window.start_us for a in answered if a.window.session == "1 0"] == sorted(
        a.window.start_us for a in answered if a.window.session == "1 0"
    )


def test_below_the_capacity_nothing_is_left_out_and_predictions_are_in_time() -> None:
    answered = run([*sessions(round(CAPACITY / 8), 0, MINUTE_US, 3, early=True)], level_max=3)
    assert {a.level for a in answered} == {0}
    assert p99_ms(answered) <= 2 * BATCH_US / 1000


@given(st.lists(st.integers(0, 100_000), max_size=100), st.integers(0, 3))
def test_the_level_follows_the_queued_work(behind: list[int], highest: int) -> None:
    levels = LoadShedder(highest, 1_000)
    levels.observe(1, 1)
    for records in behind:
        level = levels.update_level(records)
        assert 0 <= level <= highest
        assert records > level * 1_000 / 4 or level == 0
        assert records <= (level + 1) * 1_000 or level == highest


@pytest.mark.parametrize("highest", [0, 1, 2, 3])
def test_a_level_steps_down_at_a_quarter_of_its_step_up_threshold(highest: int) -> None:
    levels = LoadShedder(highest, 1_000)
    levels.observe(10, 10)
    assert levels.update_level(1_000_000) == highest
    assert levels.update_level(highest * 250) == highest
    assert levels.update_level(max(highest * 250 - 1, 0)) == max(highest - 1, 0)
    assert levels.update_level(0) == 0
