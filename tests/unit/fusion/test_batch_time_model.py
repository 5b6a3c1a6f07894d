"""The latency model fits a line to batches of any sizes and follows a device that changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.fusion.batching import BatchTimeModel


@given(st.lists(st.integers(1, 64), min_size=2, max_size=200), st.floats(0, 1e5), st.floats(0, 1e4))
def test_the_time_model_fits_batches_of_any_sizes(sizes: list[int], fixed_us: float, each_us: float) -> None:
    model = BatchTimeModel()
    for windows in sizes:
        model.observe(windows, fixed_us + each_us * windows)
    size = sizes[-1]
    assert model.predict_us(size) == pytest.approx(fixed_us + each_us * size, rel=1e-4, abs=1)
    if len(set(sizes[-20:])) > 1:
        assert model.per_window_us == pytest.approx(each_us, rel=1e-3, abs=1)


@given(st.lists(st.tuples(st.integers(1, 64), st.floats(0, 1e6)), max_size=50), st.integers(0, 64))
def test_no_predicted_time_is_negative(batches: list[tuple[int, float]], windows: int) -> None:
    model = BatchTimeModel()
    for size, us in batches:
        model.observe(size, us)
    assert model.per_window_us >= 0
    assert model.predict_us(windows) >= -1e-3


def test_a_slower_device_is_learned_within_a_hundred_batches() -> None:
    model = BatchTimeModel()
    for _ in range(1_000):
        model.observe(8, 5_000)
    for _ in range(100):
        model.observe(8, 10_000)
    assert model.predict_us(8) == pytest.approx(10_000, rel=0.1)
