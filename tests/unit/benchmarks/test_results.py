"""Statistics of benchmark rows."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.results import BenchmarkRow, median_row, percentiles

ROW = BenchmarkRow(
    case="live", system="braid", versions={}, sessions=1, workers=1, window="2 s / 0.5 s", seconds=1, events=1,
    windows=1, events_per_s=1, windows_per_s=1, cpu_us_per_event=10, cpu_ms_per_window=1, broker_cpu_us_per_event=1,
    redis_cpu_us_per_event=1, bytes_per_event=1, rss_mb=1, latency_ms={}, behind_ms=0, wrong=0, missing=0, copies=0,
    troubles=0, checked=1,
)  # fmt: skip


def test_percentiles_are_values_that_occur() -> None:
    assert percentiles(range(1, 1001)) == {"p50": 501, "p99": 991, "p99.9": 1000}
    assert percentiles([]) == {}


def test_a_row_is_the_median_run_and_one_wrong_window_in_any_run_makes_it_invalid() -> None:
    runs = [replace(ROW, cpu_us_per_event=cost) for cost in (30.0, 10.0, 20.0)]
    assert median_row(runs).cpu_us_per_event == 20
    assert median_row(runs).spread == {"least": 10, "most": 30}
    assert median_row(runs).valid
    assert not median_row([*runs[:2], replace(runs[2], wrong=1)]).valid
    assert not replace(ROW, missing=1).valid
