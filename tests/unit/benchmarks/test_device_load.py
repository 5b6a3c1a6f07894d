"""The generated load, and the join of the peers compared with the oracle."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from benchmarks.device_load import (
    BROKEN_HEADER,
    EVENTS_PER_SESSION_SECOND,
    DeviceLoad,
    ScheduledRecord,
    schedule_records,
)
from benchmarks.peers.job import WindowJoin, parse_record
from services.contract.alignment_config import AlignmentConfig
from services.contract.kafka_record import KafkaRecord
from services.inspection.audit.decode_media import decode_media_record as read_for_oracle
from services.inspection.audit.oracle import LogEntry, judge_logs

EPOCH_MS = 1_700_000_000_000
LOAD = DeviceLoad(sessions=6, seconds=20, late=0.1, copies=0.05, broken=0.02)


def records(load: DeviceLoad) -> list[ScheduledRecord]:
    return [one for due in schedule_records(load, EPOCH_MS, 1) for one in due]


def test_a_load_is_repeatable_and_has_its_rate_copies_and_broken_records() -> None:
    first = records(LOAD)
    assert first == records(LOAD)
    headers = [tuple(one.headers) for one in first]
    repeated = len(headers) - len(set(headers))
    fresh = len(first) - repeated
    assert fresh == LOAD.sessions * LOAD.seconds * EVENTS_PER_SESSION_SECOND
    assert 0.02 < repeated / fresh < 0.08
    assert 0.005 < sum(name == BROKEN_HEADER for one in first for name, _ in one.headers) / len(first) < 0.04
    assert all(a.at_ms // 10 <= b.at_ms // 10 for a, b in pairwise(first))


def test_payloads_have_the_documented_sizes() -> None:
    sizes = Counter((one.modality, len(one.value)) for one in records(DeviceLoad(2, 2)))
    assert {size for modality, size in sizes if modality == "audio"} == {3_200}
    assert {size for modality, size in sizes if modality == "video"} == {6_500}
    assert {len(one.value) for one in records(DeviceLoad(2, 2, small=True)) if one.modality != "text"} == {200}


def test_the_join_of_the_peers_makes_the_windows_of_the_oracle_with_late_and_repeated_records() -> None:
    semantics, join = AlignmentConfig(), WindowJoin(2_000_000, 500_000)
    offsets: Counter[str] = Counter()
    entries: dict[str, list[LogEntry]] = {m: [] for m in semantics.modalities}
    made: dict[tuple[str, int], dict[str, set[tuple[str, str, int]]]] = {}
    for one in records(LOAD):
        offset, offsets[one.modality] = offsets[one.modality], offsets[one.modality] + 1
        if not any(name == BROKEN_HEADER for name, _ in one.headers):
            raw = KafkaRecord("topic", 0, offset, EPOCH_MS + one.at_ms, one.key, one.headers, one.value)
            holds = read_for_oracle(raw, one.modality, 0, semantics)
            assert holds is not None
            entries[one.modality].append(LogEntry(offset, raw.timestamp * 1000, holds))
        item = parse_record(one.modality, 0, offset, one.key, one.headers, one.value)
        for window in join.add(item) if item else ():
            members = {m: {(i[0], i[1], i[2]) for i in items} for m, items in window["members"].items()}
            assert made.setdefault((window["session"], window["start_us"]), members) is members, "a window came twice"
    verdict = judge_logs(entries, semantics)
    assert {"windowed", "late", "duplicate"} <= set(verdict.fates.values())
    assert made == {
        key: {m: {(i.source, i.id, i.t_us) for i in lane.members} for m, lane in window.modalities.items()}
        for key, window in verdict.windows.items()
    }
    assert len(made) > LOAD.sessions * 20
