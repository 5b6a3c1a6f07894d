"""The services that collect garbage rarely, and the reason why others do not."""

from __future__ import annotations

import gc
import weakref

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.memory_records import MemoryRecords

from services.aligner import __main__ as aligner
from services.fusion import __main__ as fusion
from services.runtime.process import collect_cycles_rarely, freeze_loaded_objects
from services.runtime.settings import load


def test_aligner_collects_rarely_and_fusion_worker_does_not() -> None:
    assert aligner.make_spec(load()).tune_gc is collect_cycles_rarely
    assert fusion.plan(load()).tune_gc is freeze_loaded_objects


# When this fails, aiokafka has removed the cycle and both services may collect rarely.
def test_fetched_records_that_were_not_consumed_are_in_a_reference_cycle() -> None:
    records = PartitionRecords(TopicPartition("t", 0), MemoryRecords(b""), [], 0, None, None, True, 0)
    reference = weakref.ref(records)
    gc.disable()
    try:
        del records
        assert reference() is not None
        gc.collect()
        assert reference() is None
    finally:
        gc.enable()
