"""Reads the logs of a run again and holds every window against the oracle: the same check for Braid and for each peer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.device_load import BROKEN_HEADER
from services.contract import window as window_record
from services.contract.alignment_config import Semantics
from services.contract.canonical import loads_object
from services.contract.topics import Topics
from services.contract.window import Window
from services.inspection.audit.oracle import LogEntry, OracleVerdict
from services.inspection.audit.oracle import judge_logs as ask_oracle
from services.inspection.audit.records import decode_media_record
from services.kafka import clients
from services.kafka.log_reader import read_range, with_readers

Members = Mapping[str, frozenset[tuple[str, str, int]]]
Key = tuple[str, int]


@dataclass(slots=True)
class CheckedRun:
    """What a run wrote. events_ms: append times of media; windows: append time and that of the last record needed (ms).

    wrong: windows that hold something else than the logs say, or that should not be; missing: those that never came;
    copies: repeats of a window; troubles: refused or late records that were not told as the oracle has them.
    """

    events_ms: list[int] = field(default_factory=list)
    ticks: int = 0
    windows: list[tuple[int, float]] = field(default_factory=list)
    wrong: int = 0
    missing: int = 0
    copies: int = 0
    troubles: int = 0

    def add(self, other: CheckedRun) -> None:
        self.events_ms += other.events_ms
        self.windows += other.windows
        self.ticks += other.ticks
        self.wrong += other.wrong
        self.missing += other.missing
        self.copies += other.copies
        self.troubles += other.troubles


async def check_windows(
    servers: str, topics: Topics, partition_count: int, semantics: Semantics, is_braid: bool
) -> CheckedRun:
    """Judge a run; ours: the windows are Braid's own records, equal to the byte, with late and refused records told."""

    async def one(reader: AIOKafkaConsumer, number: int) -> CheckedRun:
        return await _judge_number(reader, topics, number, semantics, is_braid)

    whole = CheckedRun()
    for judged in await with_readers(lambda: clients.make_reader(servers), range(partition_count), one):
        whole.add(judged)
    return whole


async def _judge_number(
    reader: AIOKafkaConsumer, topics: Topics, number: int, semantics: Semantics, ours: bool
) -> CheckedRun:
    out, marked = CheckedRun(), set[tuple[str, int]]()
    entries: dict[str, list[LogEntry]] = {m: [] for m in topics.modalities}
    for modality in topics.modalities:
        async for r in read_range(reader, TopicPartition(topics.media(modality), number)):
            if r.key is None:
                out.ticks += 1
            else:
                out.events_ms.append(r.timestamp)
            if any(name == BROKEN_HEADER for name, _ in r.headers):
                marked.add((modality, r.offset))
                continue
            holds = decode_media_record(r, modality, number)
            if holds is not None:
                entries[modality].append(LogEntry(r.offset, r.timestamp * 1000, holds))
    verdict = ask_oracle(entries, semantics)
    written = [r async for r in read_range(reader, TopicPartition(topics.windows, number))]
    _compare(written, verdict, ours, out)
    if ours:
        out.troubles += len(verdict.open)
        dead = {(d["topic"].split(".")[-2], d["offset"]) for d in await _told(reader, topics.dead, number)}
        late = {(d["modality"], d["at"][1]) for d in await _told(reader, topics.late, number)}
        out.troubles += len(dead ^ marked)
        out.troubles += len(late ^ {at for at, fate in verdict.fates.items() if fate == "late"})
    return out


async def _told(reader: AIOKafkaConsumer, topic: str, number: int) -> list[dict[str, Any]]:
    return [loads_object(r.value or b"") async for r in read_range(reader, TopicPartition(topic, number))]


def _compare(written: Sequence[Any], verdict: OracleVerdict, ours: bool, out: CheckedRun) -> None:
    seen: set[Key] = set()
    for r in written:
        found = _final(r.value)
        if found is None:
            continue
        key = found["session"], found["start_us"]
        if key in seen:
            out.copies += 1
            continue
        seen.add(key)
        wanted = verdict.windows.get(key)
        if wanted is None:
            out.wrong += 1
            continue
        out.windows.append((r.timestamp, wanted.closed_us / 1000))
        same = window_record.encode(wanted) == r.value if ours else _members(found) == _members_of(wanted)
        out.wrong += not same
    out.missing += len(verdict.windows.keys() - seen)


def _final(value: bytes | None) -> dict[str, Any] | None:
    """The record of a window, None for an early answer."""
    record: dict[str, Any] = json.loads(value or b"{}")
    return record if record.get("final", True) else None


def _members(record: Mapping[str, Any]) -> Members:
    return {m: frozenset((i[0], i[1], i[2]) for i in items) for m, items in record["members"].items()}


def _members_of(window: Window) -> Members:
    return {m: frozenset((i.source, i.id, i.t_us) for i in lane.members) for m, lane in window.modalities.items()}
