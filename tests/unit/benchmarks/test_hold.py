"""Which rates are tried for the highest that a system holds, and which counts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from benchmarks import highest_rate
from benchmarks.alignment_run import AlignmentCase
from benchmarks.whole_system import RunFailed
from tests.unit.benchmarks.test_row import ROW

BACKLOG_PER_S = 10_400  # a thirteenth is a session: 800 of them, 48, 96, 200, 400 and 800 at the five rates


class Machine:
    """Holds so many sessions; beyond that latency rises, a window is wrong, or the run fails."""

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
            raise RunFailed("fell behind")
        return replace(row, **self.beyond)


async def nothing(stack: object) -> None:
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
async def test_rates_are_tried_upwards_until_one_is_not_held_or_downwards_until_one_is(
    monkeypatch: pytest.MonkeyPatch, beyond: dict[str, Any] | None, holds: int, tried: list[int], highest: int | None
) -> None:
    machine = Machine(holds, beyond)
    monkeypatch.setattr(highest_rate, "run_case", machine.run)
    monkeypatch.setattr(highest_rate, "reset_redis", nothing)
    system: Any = type("System", (), {"name": "one"})
    row = await highest_rate.find_highest_rate(None, system, BACKLOG_PER_S, 60, lambda text: None)  # type: ignore[arg-type]
    assert machine.tried == tried
    assert (None if row is None else row.sessions) == highest
