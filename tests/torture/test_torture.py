"""A minute of faults on real processes; `make torture MINUTES=5` is the long form."""

from __future__ import annotations

import asyncio
import re

import pytest

from services.runtime.settings import ROOT
from tests.integration.outside_make import environment_outside_make
from tests.torture.plan import FULL_DISK, KINDS, plan

SEED = 1
PER_S = 200


@pytest.mark.stack
async def test_a_minute_of_faults_loses_and_changes_no_record() -> None:
    # docs/testing.md: make torture MINUTES=5
    process = await asyncio.create_subprocess_exec(
        *("make", "torture", "MINUTES=1", f"SEED={SEED}", f"RATE={PER_S}", "FAULTS=0.5"),
        cwd=ROOT,
        env=environment_outside_make(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    output = out.decode()
    # 0 means: no problem, and every kind of fault hit while work was in flight.
    assert process.returncode == 0, output
    counts = {
        name: int(count.replace(",", ""))
        for name, count in re.findall(r"^([^\d\n]+?) +([\d,]+)$", output, re.MULTILINE)
    }
    assert counts["records"] > 50 * PER_S, output
    # What never happened is not tested.
    for name in ("windows", "late", "duplicates", "conflicts", "refused", "commits checked"):
        assert counts[name] > 30, output


def test_a_seed_gives_one_plan_with_every_kind_of_fault() -> None:
    faults = plan(7, 300)
    assert faults == plan(7, 300) != plan(8, 300)
    assert {kind: sum(fault.kind == kind for fault in faults) for kind in KINDS} == KINDS
    assert {fault.kind for fault in plan(7, 60)} == set(KINDS)
    assert plan(7, 300, (FULL_DISK,)) == [fault for fault in faults if fault.kind != FULL_DISK]
    assert all(0 < fault.at_s < 60 for fault in plan(7, 60))
    guests = [fault.kind.split()[-1] for fault in faults if fault.kind.startswith("second")]
    assert guests == ["joins", "leaves"] * KINDS["second aligner joins"]
