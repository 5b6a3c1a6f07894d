"""The capacity page follows from the results."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.capacity import DEVICES, PAGE, PREPARED, Assumed, Inputs, inputs, need, page
from benchmarks.report import RESULTS, Results, read
from tests.unit.benchmarks.test_row import ROW


def test_the_page_says_what_its_inputs_in_the_results_give() -> None:
    assert PAGE.read_text() == page(read(RESULTS)), "python -m benchmarks.capacity"


def test_the_arithmetic_by_hand() -> None:
    i = Inputs(aligner_us=60, broker_us=20, redis_us=4, event_bytes=3_500, fusion_ms=2, beside_ms=1)
    n = need(100_000, i, Assumed())
    assert n.sessions == 33_334
    assert n.events_s == 433_342
    assert n.aligner_cores == 44  # 433,342 x 60 us = 26.0 cores, of which 60 % are used
    assert n.partitions == 53
    assert n.fusion_cores == 223  # 66,668 windows/s x 2 ms = 133.3
    assert n.gpus == 6  # 66,668 windows/s of 20,000, of which 60 % are used: 5.6
    assert n.gpu_cores == 112  # 66,668 windows/s x 1 ms
    assert n.broker_by_cpu == 6  # 8.67 cores x 3 copies / 4.8
    assert n.broker_by_wire == 11  # 1,516.7 MB/s x 5 / 750
    assert n.brokers == 11
    assert n.shards_by_memory == 12  # 1,516.7 MB/s x 120 s = 182 GB
    assert n.shards == 12


def test_more_devices_never_need_less() -> None:
    i = Inputs(60, 20, 4, 3_500, 2, 1)
    small, middle, large = (need(devices, i, Assumed()) for devices in DEVICES)
    for name in ("sessions", "aligner_cores", "partitions", "fusion_cores", "gpus", "gpu_cores", "brokers", "shards"):
        assert getattr(small, name) <= getattr(middle, name) <= getattr(large, name)


def test_without_its_rows_there_is_no_page() -> None:
    rows = {"A": [replace(ROW, case="backlog")]}
    with pytest.raises(LookupError, match=PREPARED):
        inputs(Results(rows=rows))
