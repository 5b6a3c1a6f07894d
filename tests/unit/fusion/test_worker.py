"""The order in which the worker takes fetched records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest.mock import AsyncMock, Mock

from aiokafka import TopicPartition

from services.contract.signature import Signer
from services.fusion.load_shedding import LoadShedConfig
from services.fusion.worker import FusionWorker

A, B = TopicPartition("windows", 0), TopicPartition("windows", 1)


@dataclass(frozen=True)
class R:
    """A window record as far as its order goes."""

    partition: int
    offset: int
    timestamp: int


def test_logs_are_merged_by_append_time_and_each_keeps_its_order_if_the_brokers_clock_went_back() -> None:
    some: Any = Mock()
    worker = FusionWorker(some, some, some, LoadShedConfig(0, 0, 0), some, some, some, some, some, Signer(), some)
    fetched: Any = {A: [R(0, 0, 500), R(0, 1, 100), R(0, 2, 600)], B: [R(1, 7, 400), R(1, 8, 550)]}
    prepared = [(r.partition, r.offset) for r in worker.prepare_batch(some, fetched, {A: 3, B: 9})]
    assert prepared == [(1, 7), (0, 0), (0, 1), (1, 8), (0, 2)]


async def test_commit_passes_offsets_without_records_once_everything_before_them_is_published() -> None:
    some: Any = Mock(highwater=Mock(return_value=20))
    worker: Any = FusionWorker(some, some, some, LoadShedConfig(0, 0, 0), some, some, some, some, some, Signer(), some)
    worker._batcher, worker._pipeline = (
        Mock(first_unfinished=Mock(return_value=None)),
        Mock(in_flight=["a batch"], drain=AsyncMock()),
    )
    worker._positions = worker._read = {A: 3, B: 9}
    worker.prepare_batch(some, {}, {A: 4, B: 12})
    assert await worker.commit_offsets() == {A: 3, B: 9}
    worker._pipeline.in_flight = []
    assert await worker.commit_offsets() == {A: 4, B: 12}
