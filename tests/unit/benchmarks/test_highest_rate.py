"""The search for the highest rate that a system sustains."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import highest_rate
from benchmarks.alignment_run import AlignmentCase
from benchmarks.whole_system import RunFailed
from tests.unit.benchmarks.test_results import ROW

BACKLOG_PER_S = 10_400  # 13 events per session: 48, 96, 200, 400 and 800 sessions at the five rates


class FakeSystem:
    """A system that sustains a number of sessions; beyond it latency rises, a window is wrong, or the run fails."""

    def __init__(self, holds: int, beyond: dict[str, Any] | None) -> None:
        self.holds, self.beyond = holds, beyond
        self.tried: list[int] = []

    async def run(self, stack: object, system: object, case: AlignmentCase, say: object) -> Any:
        sessions = case.load.sessions
        self.tried.append(sessions)
        row = replace(ROW, sessions=sessions, latency_ms={"p99": 60.0})
        if sessions <= self.holds:
            return row
        if self.beyond is None:
            raise RunFailed("too slow")
        return replace(row, **self.beyond)


async def do_nothing(stack: object) -> None:
    pass


@pytest.mark.parametrize("beyond", [{"latency_ms": {"p99": 101.0}}, {"wrong": 1}, {"missing": 1}, None])
@pytest.mark.parametrize(
    ("holds", "tried", "highest"),
    [
        (1_000, [200, 400, 800], 800),
        (500, [200, 400, 800], 400),
        (399, [200, 400], 200),
        (199, [200, 96], 96),
        (95, [200, 96, 48], 48),
        (1, [200, 96, 48], None),
    ],
)
async def test_rates_rise_until_one_fails_or_fall_until_one_is_sustained(
    monkeypatch: pytest.MonkeyPatch, beyond: dict[str, Any] | None, holds: int, tried: list[int], highest: int | None
) -> None:
    fake = FakeSystem(holds, beyond)
    monkeypatch.setattr(highest_rate, "run_case", fake.run)
    monkeypatch.setattr(highest_rate, "reset_redis", do_nothing)
    system: Any = type("System", (), {"name": "one"})
    row = await highest_rate.find_highest_rate(None, system, BACKLOG_PER_S, 60, lambda text: None)  # type: ignore[arg-type]
    assert fake.tried == tried
    assert (None if row is None else row.sessions) == highest
