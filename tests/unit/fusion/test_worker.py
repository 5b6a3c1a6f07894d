"""The order in which the worker takes fetched records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from unittest.mock import Mock

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
    worker = FusionWorker(some, some, some, LoadShedConfig(0, 0, 0), some, some, some, some, some, Signer())
    fetched: Any = {A: [R(0, 0, 500), R(0, 1, 100), R(0, 2, 600)], B: [R(1, 7, 400), R(1, 8, 550)]}
    prepared = [(r.partition, r.offset) for r in worker.prepare_batch(some, fetched, {A: 3, B: 9})]
    assert prepared == [(1, 7), (0, 0), (0, 1), (1, 8), (0, 2)]
