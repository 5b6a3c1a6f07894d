"""Which services look for reference cycles, and that what a consumer fetched is in one."""

from __future__ import annotations

import gc
import weakref

from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.memory_records import MemoryRecords

from services.aligner import __main__ as aligner
from services.fusion import __main__ as fusion
from services.runtime.gc_tuning import collect_cycles_rarely, freeze_loaded_objects
from services.runtime.settings import load


def test_the_aligner_looks_for_cycles_rarely_and_the_fusion_worker_which_looks_into_logs_does_not() -> None:
    assert aligner.plan(load()).tune_gc is collect_cycles_rarely
    assert fusion.plan(load()).tune_gc is freeze_loaded_objects


# Once aiokafka breaks this cycle by itself, both services may look rarely.
def test_fetched_records_that_were_not_used_up_stay_until_cycles_are_looked_for() -> None:
    records = PartitionRecords(TopicPartition("t", 0), MemoryRecords(b""), [], 0, None, None, True, 0)
    kept = weakref.ref(records)
    gc.disable()
    try:
        del records
        assert kept() is not None
        gc.collect()
        assert kept() is None
    finally:
        gc.enable()
