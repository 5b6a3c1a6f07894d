"""The ledger of a run: every media record has one fate, and every window is what the oracle says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.contract import canonical, cloudevents
from services.contract import window as window_record
from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import Chunk
from services.contract.kafka_record import KafkaRecord
from services.contract.session_reset import split_generation_id
from services.contract.window import Window
from services.inspection.audit.decode_media import decode_media_record
from services.inspection.audit.oracle import LogEntry, OracleVerdict, judge_logs

DEAD_FIELDS = {"topic": str, "partition": int, "offset": int, "stage": str}
LATE_FIELDS = {"modality": str, "at": list}
FATES = ("windowed", "late", "duplicate", "dead", "pending")


@dataclass(frozen=True, slots=True)
class PartitionLogs:
    """The records of one partition that the ledger needs."""

    partition: int
    media: Mapping[str, Sequence[KafkaRecord]]
    windows: Sequence[KafkaRecord]
    late: Sequence[KafkaRecord]
    dead: Sequence[KafkaRecord]


@dataclass(slots=True)
class Ledger:
    """The fates and windows of a run.

    Attributes:
        admitted: How many media records there are.
        fates: How many have each fate.
        by_modality: The same by modality.
        fate_of: The fate by modality, partition and offset.
        windows: Final windows by id, with their bytes and append time (ms).
        early_windows: How many early windows there are.
        windows_wrong: How many windows are missing or not what the oracle says.
        copies: How many final windows were published again.
        troubles: What is wrong; empty if every promise holds.
    """

    admitted: int = 0
    fates: Counter[str] = field(default_factory=Counter)
    by_modality: dict[str, Counter[str]] = field(default_factory=dict)
    fate_of: dict[tuple[str, int, int], str] = field(default_factory=dict)
    windows: dict[str, tuple[Window, bytes, int]] = field(default_factory=dict)
    early_windows: int = 0
    windows_wrong: int = 0
    copies: int = 0
    troubles: list[str] = field(default_factory=list)

    @property
    def balanced(self) -> bool:
        """True if every media record has a fate and none is pending."""
        return self.admitted == sum(self.fates.values()) and not self.fates["pending"]

    def as_json(self) -> dict[str, int]:
        """Return the counts as `braid audit --json` prints them."""
        return {"admitted": self.admitted, **{fate: self.fates[fate] for fate in FATES}}


def build_ledger(logs: Sequence[PartitionLogs], semantics: AlignmentConfig, ours: Callable[[str], bool]) -> Ledger:
    """Build the ledger of whole logs; ours: selects the sessions."""
    ledger = Ledger(by_modality={m: Counter() for m in semantics.modalities})
    for one in logs:
        _one(one, semantics, ours, ledger)
    return ledger


def count_configs(logs: Sequence[PartitionLogs]) -> Counter[str]:
    """Count the final windows by the digest of their alignment settings."""
    windows = (window_record.decode_or_none(raw.value) for one in logs for raw in one.windows)
    return Counter(window.config for window in windows if window is not None and window.final)


def _one(logs: PartitionLogs, semantics: AlignmentConfig, ours: Callable[[str], bool], ledger: Ledger) -> None:
    rejections = _valid("dead", logs.dead, DEAD_FIELDS, logs.partition, ledger)
    late_records = _valid("late", logs.late, LATE_FIELDS, logs.partition, ledger)
    dead = {
        (d["topic"].rpartition(".")[0].rpartition(".")[2], d["offset"]): d
        for d in rejections
        if d["partition"] == logs.partition
    }
    late = {(d["modality"], d["at"][-1]) for d in late_records if d["at"] and isinstance(d["at"][-1], int)}
    entries: dict[str, list[LogEntry]] = {}
    chunks: dict[tuple[str, int], Chunk] = {}
    for modality, raws in logs.media.items():
        entries[modality] = []
        for raw in raws:
            mine = raw.key is not None and ours(raw.key.decode(errors="replace"))
            is_media = mine and cloudevents.raw_type(raw.headers) != cloudevents.SESSION_END_TYPE.encode()
            if is_media:
                ledger.admitted += 1
            refused = dead.get((modality, raw.offset))
            at_admission = refused is not None and refused["stage"] == "admission"
            found = None if at_admission else decode_media_record(raw, modality, logs.partition, semantics)
            if found is not None or raw.key is not None:
                # Those of other sessions too: a quota counts all sessions of a source.
                entries[modality].append(LogEntry(raw.offset, raw.timestamp * 1000, found))
            if mine and at_admission:
                _count(ledger, modality, "dead")
                ledger.fate_of[modality, logs.partition, raw.offset] = "dead"
            elif mine and isinstance(found, Chunk):
                chunks[modality, raw.offset] = found
            elif is_media:
                _count(ledger, modality, "pending")
                ledger.troubles.append(f"{modality} {logs.partition}/{raw.offset} is unreadable and no dead letter")
    verdict = judge_logs(entries, semantics)
    placed = _windows(logs, verdict, ours, ledger)
    _fates(verdict, chunks, placed, late, set(dead), ledger)


def _windows(
    logs: PartitionLogs, verdict: OracleVerdict, ours: Callable[[str], bool], ledger: Ledger
) -> set[tuple[str, int]]:
    """Compare final windows with the oracle; return the positions of all published members."""
    placed: set[tuple[str, int]] = set()
    seen: dict[tuple[str, int], bytes] = {}
    for raw in logs.windows:
        window = window_record.decode_or_none(raw.value)
        if window is None or not ours(window.session):
            continue
        if not window.final:
            ledger.early_windows += 1
            continue
        key = window.generation_id, window.start_us
        if key in seen:
            ledger.copies += 1
            if seen[key] != raw.value:
                ledger.troubles.append(f"two versions of window {window.id}")
                ledger.windows_wrong += 1
            continue
        seen[key] = raw.value or b""
        ledger.windows[window.id] = window, raw.value or b"", raw.timestamp
        placed |= {(m, member.offset) for m, stream in window.modalities.items() for member in stream.members}
        wanted = verdict.windows.get(key)
        if wanted is None or window_record.encode(wanted) != raw.value:
            ledger.windows_wrong += 1
            ledger.troubles.append(f"window {window.id} is not what the logs say")
    for key in verdict.windows.keys() - seen.keys():
        if ours(verdict.windows[key].session):
            ledger.windows_wrong += 1
            ledger.troubles.append(f"window {verdict.windows[key].id} is missing")
    for id, start_us in verdict.open:
        session, generation = split_generation_id(id)
        if ours(session):
            open_id = window_record.window_id(session, start_us, generation=generation)
            ledger.troubles.append(f"window {open_id} was never closed")
    return placed


def _fates(
    verdict: OracleVerdict,
    chunks: Mapping[tuple[str, int], Chunk],
    placed: set[tuple[str, int]],
    late: set[tuple[str, int]],
    dead: set[tuple[str, int]],
    ledger: Ledger,
) -> None:
    """Give each chunk one fate from what was published; the oracle decides about copies.

    After a crash a duplicate may be published as late: the stronger fate of its identity counts.
    """
    for at, chunk in chunks.items():
        wanted = verdict.fates[at]
        if at in placed:
            fate = "windowed"
        elif at in dead:
            fate = "dead"
        elif wanted == "duplicate":
            fate = "duplicate"
        elif at in late:
            fate = "late"
        else:
            fate = "pending"
        _count(ledger, chunk.modality, fate)
        ledger.fate_of[chunk.modality, chunk.partition, chunk.offset] = fate
        same = {"conflict": "dead", "limit": "dead", "quota": "dead"}.get(wanted, wanted)
        if fate != same:
            ledger.troubles.append(
                f"{chunk.modality} {chunk.partition}/{chunk.offset} is {fate}, the logs say {wanted}"
            )


def _count(ledger: Ledger, modality: str, fate: str) -> None:
    ledger.fates[fate] += 1
    ledger.by_modality[modality][fate] += 1


def _valid(
    name: str, raws: Sequence[KafkaRecord], fields: Mapping[str, type], number: int, ledger: Ledger
) -> list[dict[str, Any]]:
    """The valid records of a topic; records that lack a field, or have one of another type, are troubles."""
    found = []
    for raw in raws:
        record = canonical.object_or_empty(raw.value)
        if all(isinstance(record.get(field), kind) for field, kind in fields.items()):
            found.append(record)
        else:
            ledger.troubles.append(f"{name} {number}/{raw.offset} is no record of ours")
    return found
