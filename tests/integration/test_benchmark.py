"""The benchmark at a small size: Braid and the bare loop on one broker, every window compared with the oracle."""

from __future__ import annotations

import asyncio

from benchmarks.alignment_run import AlignmentCase, run_case
from benchmarks.device_load import DeviceLoad
from benchmarks.systems import BARE, BRAID, BenchmarkJob
from services.local.stack import LocalStack


async def test_braid_and_the_bare_loop_publish_every_window_of_the_oracle(stack: LocalStack) -> None:
    case = AlignmentCase("small", DeviceLoad(10, 8, small=True, broken=0.01), live=False, job=BenchmarkJob("", 2))
    braid, bare = await asyncio.gather(*(run_case(stack, system, case, print) for system in (BRAID, BARE)))
    assert braid.valid, braid
    assert bare.valid, bare
    # Braid closes the last windows with idle records; the bare loop waits for records that never arrive.
    assert braid.checked > bare.checked > 10 * 8
    assert braid.cpu_us_per_event > 0
    assert bare.cpu_us_per_event > 0
