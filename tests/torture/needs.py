"""Until when each record was needed: the time at which the broker had its output."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from services.contract import canonical, tick
from services.contract.kafka_record import KafkaRecord, MemberPosition
from services.contract.tick import Tick
from services.contract.topics import Topics
from services.inspection.audit.ledger import Ledger, PartitionLogs
from tests.torture.commits import Log, Need

Needs = dict[Log, list[Need]]


def needs_of(logs: Sequence[PartitionLogs], predictions: Sequence[KafkaRecord], books: Ledger, topics: Topics) -> Needs:
    """Collect members and closing idle records of windows, late and rejected records, and windows without a prediction."""
    needs: Needs = defaultdict(list)
    ticks, predicted_ms = _ticks(logs), _predicted_ms(predictions)
    for one in logs:
        for at, at_ms in _reported_ms(one).items():
            # After a crash, a duplicate or a member of a window may also be reported late: it was not needed.
            if books.fate_of.get(at) in ("late", "dead"):
                needs[topics.media(at[0]), at[1]].append(Need(at[2], at_ms))
        for raw in one.windows:
            record = canonical.loads_object(raw.value or b"")
            if record["final"] and record["id"] in predicted_ms:
                needs[topics.windows, one.partition].append(Need(raw.offset, predicted_ms[record["id"]]))
    for window, _, out_ms in books.windows.values():
        for modality, lane in window.modalities.items():
            log = topics.media(modality)
            for member in lane.members:
                needs[log, member.partition].append(Need(member.offset, out_ms))
            if lane.evidence in ("tick", "end") and lane.bound_us is not None:
                number, offset = ticks[modality, window.session, lane.bound_us]
                needs[log, number].append(Need(offset, out_ms))
    return needs


def window_id_of(prediction: Mapping[str, Any]) -> str:
    """Return the id of the window of a final prediction."""
    return f"{prediction['session']}/{prediction['window']['start'] // 1000}/1"


def _predicted_ms(predictions: Sequence[KafkaRecord]) -> dict[str, int]:
    """Return when each window was first predicted."""
    found: dict[str, int] = {}
    for raw in predictions:
        record = canonical.loads_object(raw.value or b"")
        if record["final"]:
            id = window_id_of(record)
            found[id] = min(raw.timestamp, found.get(id, raw.timestamp))
    return found


def _reported_ms(logs: PartitionLogs) -> dict[MemberPosition, int]:
    """Return when each record was first reported as late or rejected."""
    found: dict[MemberPosition, int] = {}
    for raw in logs.late:
        late = canonical.loads_object(raw.value or b"")
        found.setdefault(MemberPosition(late["modality"], *late["at"]), raw.timestamp)
    for raw in logs.dead:
        dead = canonical.loads_object(raw.value or b"")
        at = MemberPosition(dead["topic"].split(".")[-2], dead["partition"], dead["offset"])
        found[at] = min(raw.timestamp, found.get(at, raw.timestamp))
    return found


def _ticks(logs: Sequence[PartitionLogs]) -> dict[tuple[str, str, int], tuple[int, int]]:
    """Return the position of the first idle record with each watermark, by modality, session and watermark."""
    found: dict[tuple[str, str, int], tuple[int, int]] = {}
    for one in logs:
        for modality, raws in one.media.items():
            for raw in raws:
                read = tick.decode(raw.value or b"") if raw.key is None else None
                if isinstance(read, Tick):
                    for session, bound_us in read.bounds.items():
                        found.setdefault((modality, session, bound_us), (one.partition, raw.offset))
    return found
