"""Twice the capacity for a minute, then half of it: waiting stays bounded, no final window is lost, and the backlog ends at once.

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
from tests.unit.fusion.overload_simulation import (
    BATCH_US,
    CAPACITY,
    DEADLINE_US,
    STEP_US,
    CompletedWindow,
    run,
    sessions,
)

MINUTE_US = 60_000_000
WARM_US = 2_000_000
RECOVERED_US = 2_000_000


def final(completed: Sequence[CompletedWindow]) -> list[CompletedWindow]:
    return [a for a in completed if a.window.final]


def p99_ms(completed: Sequence[CompletedWindow]) -> float:
    return float(np.percentile([a.waited_us for a in completed], 99)) / 1000


def between(completed: Sequence[CompletedWindow], from_us: int, to_us: int) -> list[CompletedWindow]:
    return [a for a in completed if from_us <= a.over_us < to_us]


def goodput(completed: Sequence[CompletedWindow]) -> float:
    """Return predictions per second during the overload, relative to the capacity at level 0."""
    during_overload = between(completed, WARM_US, MINUTE_US)
    return sum(a.predicted for a in during_overload) / ((MINUTE_US - WARM_US) / 1e6) / CAPACITY


def lost(completed: Sequence[CompletedWindow]) -> list[CompletedWindow]:
    return [a for a in final(completed) if not a.predicted]


def recovered(completed: Sequence[CompletedWindow], bound_us: int) -> bool:
    """Return whether all waits are short and nothing is left out two seconds after the load fell."""
    after = [a for a in completed if a.arrived_us >= MINUTE_US + 700_000 + RECOVERED_US]
    return bool(after) and all(a.waited_us <= bound_us and a.level == 0 for a in after)


def overload(finals_per_s: float, *, early: bool, then: float) -> list[tuple[int, Window]]:
    """Return a minute at `finals_per_s` (two a second for each session), then ten seconds at rate `then`."""
    busy = sessions(round(finals_per_s / 2), 0, MINUTE_US, 1, early=early)
    calm = sessions(round(then / 2), MINUTE_US, MINUTE_US + 10_000_000, 2, early=early)
    return [*busy, *calm]


def test_level_1_suffices_at_twice_the_capacity_if_half_is_early_windows() -> None:
    completed = run(overload(CAPACITY, early=True, then=CAPACITY / 4), level_max=1)
    assert not lost(completed)
    assert p99_ms(final(completed)) <= 2 * STEP_US / 1000
    assert goodput(completed) >= 0.95
    assert goodput(final(completed)) >= 0.95
    assert recovered(completed, DEADLINE_US + 2 * BATCH_US)
    assert max(a.level for a in completed) == 1


def test_levels_bound_the_wait_at_twice_the_capacity_in_final_windows() -> None:
    completed = run(overload(2 * CAPACITY, early=False, then=CAPACITY / 2), level_max=3, share=(1, 1, 0.7, 0.4))
    assert not lost(completed)
    assert p99_ms(completed) <= 3 * STEP_US / 1000 + 100
    assert goodput(completed) >= 0.95
    assert recovered(completed, DEADLINE_US + 2 * BATCH_US)
    assert {a.level for a in completed} >= {0, 2, 3}


def test_by_default_final_windows_beyond_the_capacity_lag_and_are_not_lost() -> None:
    completed = run(overload(2 * CAPACITY, early=False, then=CAPACITY / 2), level_max=1)
    assert not lost(completed)
    assert goodput(completed) >= 0.95
    assert max(a.waited_us for a in completed) > MINUTE_US / 4
    assert [a.window.start_us for a in completed if a.window.session == "1 0"] == sorted(
        a.window.start_us for a in completed if a.window.session == "1 0"
    )


def test_below_the_capacity_nothing_is_left_out_and_predictions_are_in_time() -> None:
    completed = run([*sessions(round(CAPACITY / 8), 0, MINUTE_US, 3, early=True)], level_max=3)
    assert {a.level for a in completed} == {0}
    assert p99_ms(completed) <= 2 * BATCH_US / 1000


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
