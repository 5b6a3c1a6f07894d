"""The costs of processes at rest and with live rooms: read from the system, summed on the page."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.live_rooms import ProcessCost, RoomsRow, RunningUp, render_page
from services.local.process import ChildProcess
from tests.waiting import wait_until


async def test_the_counters_of_each_process_of_braid_up_are_read(tmp_path: Path) -> None:
    child = ChildProcess("up", tmp_path)
    child.start([sys.executable, "-c", "while True: pass"], {})
    try:
        (tmp_path / "redis.pid").write_text(f"{child.pid} 0")
        running = RunningUp(child, tmp_path)
        before = running.counters()

        async def used_time() -> bool | None:
            return running.counters()["redis"].cpu_s > before["redis"].cpu_s or None

        assert before.keys() == {"up", "redis"}
        assert before["up"].at_s <= time.monotonic()
        await wait_until(used_time, "CPU time of a busy process")
    finally:
        await child.stop()


def test_the_page_sums_the_costs_of_all_processes() -> None:
    costs = [ProcessCost("kafka", 2.0, 170, 160, 20, 0), ProcessCost("fusion", 1.5, 550, 340, 10, 0.7)]
    page = render_page(
        [RoomsRow(0, 20, costs, 0, {}), RoomsRow(1, 20, costs, 9, {"p50": 80.0, "p99": 120.0})], "make bench-rooms", 0.5
    )
    assert "## R: at rest (20 s)" in page
    assert "## L: 1 live room (20 s; 9 final predictions" in page
    assert page.count("| **all** | 3.5 | 720 | 500 | 30 | 0.7 |") == 2
