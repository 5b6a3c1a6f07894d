"""A minute of faults on real processes; `make torture MINUTES=5` is the long form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.torture.plan import KINDS, plan
from tests.torture.report import blind_spots, lines
from tests.torture.run import run

SEED = 1


@pytest.mark.stack
async def test_a_minute_of_faults_loses_nothing_and_changes_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    outcome = await run(SEED, 60, tmp_path, said.append)
    told = "\n".join([*said, *lines(outcome)])
    assert outcome.verdict.troubles == [], told
    assert blind_spots(outcome) == [], told
    assert outcome.verdict.counts["records"] > 25_000, told
    # What never happened was not tested.
    for name in ("windows", "late", "duplicates", "conflicts", "refused", "commits checked"):
        assert outcome.verdict.counts[name] > 50, told


def test_a_seed_is_one_plan_and_five_minutes_have_every_fault_that_was_promised() -> None:
    faults = plan(7, 300)
    assert faults == plan(7, 300) != plan(8, 300)
    assert {kind: sum(fault.kind == kind for fault in faults) for kind in KINDS} == KINDS
    assert {fault.kind for fault in plan(7, 60)} == set(KINDS)
    assert all(0 < fault.at_s < 60 for fault in plan(7, 60))
    guests = [fault.kind.split()[-1] for fault in faults if fault.kind.startswith("second")]
    assert guests == ["joins", "leaves"] * KINDS["second aligner joins"]
