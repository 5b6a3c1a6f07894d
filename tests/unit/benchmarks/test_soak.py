"""The verdict of the soak test on memory and open files."""

from __future__ import annotations

from benchmarks.process_sampler import ProcessSample
from benchmarks.soak import memory_trend, render_page


def samples(mb_per_min: float, files: int = 10, more_files: int = 0) -> list[ProcessSample]:
    """Return half an hour of samples, one per second: memory fills for ten minutes, then grows at a rate."""
    return [
        ProcessSample(
            s * 1000.0, s * 0.1, int((100 + min(s, 600) + mb_per_min * s / 60) * 1e6), files + more_files * s // 1800
        )
        for s in range(1801)
    ]


def test_memory_that_fills_while_warming_up_is_flat_and_its_slope_is_measured() -> None:
    flat, growing = memory_trend("aligner", samples(0)), memory_trend("aligner", samples(2))
    assert abs(flat.slope_mb_min) < 0.01
    assert flat.is_flat
    assert 1.99 < growing.slope_mb_min < 2.01
    assert not growing.is_flat
    assert abs(flat.cpu_share - 0.1) < 0.001


def test_files_that_stay_open_count_for_services_and_not_for_the_broker() -> None:
    assert not memory_trend("gateway", samples(0, more_files=8)).is_flat
    assert memory_trend("broker", samples(0, more_files=8)).is_flat


def test_the_page_has_a_row_for_each_process() -> None:
    told = render_page([memory_trend("aligner", samples(0)), memory_trend("gateway", samples(2))], 30, 4, 1_000, 1.0)
    assert "| aligner | " in told
    assert told.rstrip().endswith("**no** |")
