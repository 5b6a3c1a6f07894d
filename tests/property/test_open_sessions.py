"""The quota of open sessions is a function of the log, wherever a restart begins and however far it reads back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

from aiokafka import TopicPartition
from hypothesis import given, settings
from hypothesis import strategies as st

from services.aligner import worker
from services.aligner.idleness import IdleTimeouts
from services.aligner.partition import Partition
from services.aligner.recovery import InitialState
from services.contract import cloudevents, quotas, tick
from services.contract.admission import AdmittedChunk, admit
from services.contract.alignment_config import AlignmentConfig, Quotas
from services.contract.dead_letter import Reason, Rejected, UnreadableRecord
from services.contract.kafka_record import KafkaRecord, LogRecord
from services.contract.tick import Tick
from services.contract.topics import Topics
from services.inspection.audit import oracle
from services.inspection.audit.oracle import LogEntry

CONFIG = AlignmentConfig(quotas=Quotas(source_sessions_max=2), max_duration_us=0)
TOPICS = Topics()
LOG = TopicPartition(TOPICS.media("text"), 0)
EPOCH_MS = 1_700_000_000_000
Entry = tuple[str, str, int]
ENTRIES = st.lists(
    st.tuples(
        st.sampled_from([*"aaaaaaaaaabbc", "rejected", "end", "idle", "junk", "unreadable"]),
        st.sampled_from("stuv"),
        # Seconds: mostly forward, at times far ahead and back.
        st.sampled_from([*[0] * 15, 1, 1, 3, 9, 11, -2, 3_600, -3_600]),
    ),
    min_size=20,
    max_size=60,
)


def log_of(entries: Sequence[Entry]) -> list[LogRecord]:
    """Return the records of a log in which every fifth offset is a transaction's marker."""
    records: list[LogRecord] = []
    at_ms, offset = EPOCH_MS, 0
    for kind, session, step_s in entries:
        at_ms += step_s * 1000
        offset += 2 if offset % 5 == 3 else 1
        key: bytes | None = session.encode()
        value = b"" if kind == "end" else b"word"
        headers = cloudevents.build_headers(
            session=session,
            source=kind,
            id=str(offset),
            type=cloudevents.SESSION_END_TYPE if kind == "end" else cloudevents.media_type("text"),
            t_us=at_ms * 1000,
            content_type="image/png" if kind == "rejected" else "text/plain",
        )
        if kind == "idle":
            (value,) = tick.encode({session: at_ms * 1000}, "tick")
            key, headers = None, tick.headers(value)
        elif kind == "junk":
            key = None
        if kind == "unreadable":
            rejected = Rejected(Reason.UNREADABLE, "cut off")
            records.append(UnreadableRecord(LOG.topic, 0, offset, at_ms, rejected))
        else:
            records.append(KafkaRecord(LOG.topic, 0, offset, at_ms, key, headers, value))
    return records


class LogReader:
    """A consumer of a log in memory, as `read_range` uses one."""

    def __init__(self, records: Sequence[LogRecord], oldest: int) -> None:
        self.records, self.oldest, self.at = records, oldest, 0

    async def beginning_offsets(self, logs: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(logs, self.oldest)

    async def end_offsets(self, logs: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(logs, self.records[-1].offset + 1)

    def assign(self, logs: Sequence[TopicPartition]) -> None:
        assert logs == [LOG]

    def seek(self, log: TopicPartition, offset: int) -> None:
        self.at = offset

    async def position(self, log: TopicPartition) -> int:
        return self.at

    async def getmany(self, log: TopicPartition, timeout_ms: int) -> dict[TopicPartition, list[LogRecord]]:
        found = [record for record in self.records if record.offset >= self.at][:7]
        self.at = found[-1].offset + 1
        return {log: found}


def partition_at(offset: int) -> Partition:
    positions = dict.fromkeys(CONFIG.modalities, 0) | {"text": offset}
    timeouts = IdleTimeouts(dict.fromkeys(CONFIG.modalities, 1), 1, None)
    return Partition(0, 1, CONFIG, timeouts, TOPICS, 0, InitialState(positions, {}, {}, {}))


def over_quota(partition: Partition, records: Sequence[LogRecord]) -> set[int]:
    effects = partition.process([("text", record) for record in records], 0)
    return {letter.position.offset for _, letter in effects.dead if letter.rejected.reason is Reason.QUOTA}


def entries_of(records: Sequence[LogRecord]) -> list[LogEntry]:
    entries: list[LogEntry] = []
    for r in records:
        admitted = admit("text", 0, r.offset, r.timestamp * 1000, r.key, r.headers, r.value, CONFIG, 1)
        content: Any = admitted.chunk if isinstance(admitted, AdmittedChunk) else None
        if isinstance(admitted, Tick) or r.key is not None:
            entries.append(LogEntry(r.offset, r.timestamp * 1000, admitted if isinstance(admitted, Tick) else content))
    return entries


@settings(max_examples=100, deadline=None)
@given(
    entries=ENTRIES,
    first_cut=st.integers(1, 5),
    first_offsets=st.sampled_from([1, 7, 250]),
    counted_sources=st.sampled_from([1, 9]),
)
def test_a_restart_anywhere_rejects_the_same_chunks_as_the_oracle(
    entries: list[Entry], first_cut: int, first_offsets: int, counted_sources: int
) -> None:
    records = log_of(entries)
    with (
        patch.object(worker, "READ_BACK_OFFSETS", first_offsets),
        patch.object(quotas, "COUNTED_SOURCES_MAX", counted_sources),
        patch.object(oracle, "COUNTED_SOURCES_MAX", counted_sources),
    ):
        fates = oracle.judge_logs({"text": entries_of(records)}, CONFIG).fates
        expected = {offset for (_, offset), fate in fates.items() if fate == "quota"}
        assert over_quota(partition_at(0), records) == expected
        for cut in range(first_cut, len(records), 5):
            position = records[cut].offset
            restarted = partition_at(position)
            reader: Any = LogReader(records, oldest=0)
            asyncio.run(worker.count_open_sessions(reader, LOG, "text", restarted))
            assert over_quota(restarted, records[cut:]) == {offset for offset in expected if offset >= position}


def test_a_restart_reads_no_further_back_than_the_period_before() -> None:
    records = log_of([("a", "s", 0)] * 500 + [("a", "s", 11)] + [("a", "s", 0)] * 60)
    reader: Any = LogReader([record for record in records if record.offset > 400], oldest=0)
    partition = partition_at(records[-1].offset)
    asyncio.run(worker.count_open_sessions(reader, LOG, "text", partition))
    assert partition.open_sessions["text"].periods == 2
