"""The check of a run: read its logs again and compare every window with the oracle, for Braid and for each peer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.device_load import BROKEN_HEADER
from services.contract import window as window_record
from services.contract.alignment_config import AlignmentConfig
from services.contract.canonical import loads_object
from services.contract.topics import Topics
from services.contract.window import Window
from services.inspection.audit.decode_media import decode_media_record
from services.inspection.audit.oracle import LogEntry, OracleVerdict, judge_logs
from services.kafka import clients
from services.kafka.log_reader import read_partitions, read_range

Members = Mapping[str, frozenset[tuple[str, str, int]]]
Key = tuple[str, int]


@dataclass(slots=True)
class CheckedRun:
    """What a run wrote, and what is wrong with it.

    Attributes:
        events_ms: Append times of the media records.
        ticks: The number of idle records.
        windows: For each window, its append time and that of the last record it needed (ms).
        wrong: Windows whose members differ from the oracle's, or that the oracle does not have.
        missing: Windows of the oracle that were not written.
        copies: Repetitions of a window.
        troubles: Late or rejected records that were not published as the oracle says (Braid only).
    """

    events_ms: list[int] = field(default_factory=list)
    ticks: int = 0
    windows: list[tuple[int, float]] = field(default_factory=list)
    wrong: int = 0
    missing: int = 0
    copies: int = 0
    troubles: int = 0

    def add(self, other: CheckedRun) -> None:
        """Add the figures of another partition."""
        self.events_ms += other.events_ms
        self.windows += other.windows
        self.ticks += other.ticks
        self.wrong += other.wrong
        self.missing += other.missing
        self.copies += other.copies
        self.troubles += other.troubles


async def check_windows(
    servers: str, topics: Topics, partition_count: int, semantics: AlignmentConfig, is_braid: bool
) -> CheckedRun:
    """Check all partitions of a run.

    Args:
        servers: The broker's address.
        topics: The topics of the run.
        partition_count: How many partitions each topic has.
        semantics: The alignment settings that the oracle applies.
        is_braid: The windows are Braid's records, which must be byte-equal; late and rejected records are checked too.
    """

    async def check_partition(reader: AIOKafkaConsumer, number: int) -> CheckedRun:
        return await _check_partition(reader, topics, number, semantics, is_braid)

    whole = CheckedRun()
    for part in await read_partitions(lambda: clients.make_reader(servers), range(partition_count), check_partition):
        whole.add(part)
    return whole


async def _check_partition(
    reader: AIOKafkaConsumer, topics: Topics, number: int, semantics: AlignmentConfig, is_braid: bool
) -> CheckedRun:
    result, broken = CheckedRun(), set[tuple[str, int]]()
    entries: dict[str, list[LogEntry]] = {m: [] for m in topics.modalities}
    for modality in topics.modalities:
        async for r in read_range(reader, TopicPartition(topics.media(modality), number)):
            if r.key is None:
                result.ticks += 1
            else:
                result.events_ms.append(r.timestamp)
            if any(name == BROKEN_HEADER for name, _ in r.headers):
                broken.add((modality, r.offset))
                continue
            chunk = decode_media_record(r, modality, number, semantics)
            if chunk is not None:
                entries[modality].append(LogEntry(r.offset, r.timestamp * 1000, chunk))
    verdict = judge_logs(entries, semantics)
    window_records = [r async for r in read_range(reader, TopicPartition(topics.windows, number))]
    _compare(window_records, verdict, is_braid, result)
    if is_braid:
        result.troubles += len(verdict.open)
        dead = {(d["topic"].split(".")[-2], d["offset"]) for d in await _read_json(reader, topics.dead, number)}
        late = {(d["modality"], d["at"][1]) for d in await _read_json(reader, topics.late, number)}
        result.troubles += len(dead ^ broken)
        result.troubles += len(late ^ {at for at, fate in verdict.fates.items() if fate == "late"})
    return result


async def _read_json(reader: AIOKafkaConsumer, topic: str, number: int) -> list[dict[str, Any]]:
    return [loads_object(r.value or b"") async for r in read_range(reader, TopicPartition(topic, number))]


def _compare(window_records: Sequence[Any], verdict: OracleVerdict, is_braid: bool, result: CheckedRun) -> None:
    seen: set[Key] = set()
    for r in window_records:
        window: dict[str, Any] = json.loads(r.value or b"{}")
        if not window.get("final", True):
            continue
        key = window["session"], window["start_us"]
        if key in seen:
            result.copies += 1
            continue
        seen.add(key)
        expected = verdict.windows.get(key)
        if expected is None:
            result.wrong += 1
            continue
        result.windows.append((r.timestamp, expected.closed_us / 1000))
        same = window_record.encode(expected) == r.value if is_braid else _members(window) == _members_of(expected)
        result.wrong += not same
    result.missing += len(verdict.windows.keys() - seen)


def _members(record: Mapping[str, Any]) -> Members:
    return {m: frozenset((i[0], i[1], i[2]) for i in items) for m, items in record["members"].items()}


def _members_of(window: Window) -> Members:
    return {m: frozenset((i.source, i.id, i.t_us) for i in lane.members) for m, lane in window.modalities.items()}
