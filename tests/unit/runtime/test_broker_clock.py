"""The difference between the broker's clock and ours, and readiness."""

from __future__ import annotations

import asyncio

import pytest

from services.runtime.broker_clock import BrokerClock

S = 1_000_000


# sent at 100 s, acknowledged at 101 s, by our clock
@pytest.mark.parametrize(
    ("appended_ms", "offset_us"),
    [
        (100_000, 0),
        (101_000, 0),
        (99_999, 0),  # cut to milliseconds
        (99_998, -1_000),
        (101_001, 1_000),
        (103_000, 2 * S),
        (86_501_000, 86_400 * S),
        (10_000, -89_999_000),
    ],
)
def test_difference_is_what_the_time_to_the_acknowledgement_does_not_explain(appended_ms: int, offset_us: int) -> None:
    clock = BrokerClock()
    clock.observe(100 * S, 101 * S, appended_ms)
    assert clock.offset_us == offset_us


@pytest.mark.parametrize(
    ("appended_ms", "problem"),
    [
        (102_000, None),
        (97_999, None),
        (102_001, "Kafka's clock is 2.0 s ahead of this machine's"),
        (40_000, "Kafka's clock is 60.0 s behind this machine's"),
    ],
)
def test_readiness_says_when_the_clocks_differ_by_more_than_2_s(appended_ms: int, problem: str | None) -> None:
    clock = BrokerClock()
    clock.observe(100 * S, 100 * S, appended_ms)
    dependency = clock.dependency()
    assert not dependency.essential
    if problem is None:
        asyncio.run(dependency.check())  # type: ignore[arg-type]
    else:
        with pytest.raises(ValueError, match=problem):
            asyncio.run(dependency.check())  # type: ignore[arg-type]
    clock.observe(100 * S, 100 * S, 100_000)
    assert clock.problem is None
