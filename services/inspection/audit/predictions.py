"""Recomputes predictions from their windows and the media log, in a fresh process state, and compares the bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from services.contract import canonical, cloudevents
from services.contract.cloudevents import Envelope
from services.contract.prediction import muted_modalities
from services.contract.record import KafkaRecord, MemberPosition
from services.fusion.inference import Inference
from services.fusion.stages import WindowPrediction
from services.inspection.audit.ledger import Ledger, PartitionLogs
from services.storage.payload_cache import Payload

# A level of overload, and the senses that were muted.
Way = tuple[int, frozenset[str]]
WHOLE: Way = (0, frozenset())


@dataclass(slots=True)
class RecomputedPredictions:
    """Final predictions by window id as computed again, and what differs from what was published."""

    by_window: dict[str, WindowPrediction] = field(default_factory=dict)
    checked: int = 0
    copies: int = 0
    troubles: list[str] = field(default_factory=list)


def recompute_predictions(
    books: Ledger, logs: Sequence[PartitionLogs], published: Sequence[KafkaRecord], inference: Inference
) -> RecomputedPredictions:
    """Every final prediction of the books' windows must be there, in one byte string, equal to a fresh one.

    A window that was answered under overload or without muted senses counts in each way in which it was: which, the
    prediction itself says.
    """
    out = RecomputedPredictions()
    said: dict[str, set[bytes]] = defaultdict(set)
    ways: dict[str, set[Way]] = defaultdict(set)
    for raw in published:
        record = canonical.loads_object(raw.value or b"")
        if record["final"]:
            said[record["id"]].add(raw.value or b"")
            out.copies += 1
            if record["model"]["digest"] == inference.model.digest:
                ways[record["id"].rpartition("@")[0]].add((record["level"], muted_modalities(record)))
    fresh = _fresh(books, logs, ways, inference)
    for predicted in fresh:
        out.by_window.setdefault(predicted.window.id, predicted)
    for predicted in fresh:
        found = said.get(predicted.id, set())
        out.checked += 1
        if not found:
            out.troubles.append(f"prediction {predicted.id} is missing")
        elif len(found) > 1:
            out.troubles.append(f"prediction {predicted.id} was published in {len(found)} versions")
        elif found != {predicted.record}:
            out.troubles.append(f"prediction {predicted.id} is not what its window and model give")
    out.copies -= sum(predicted.id in said for predicted in fresh)
    return out


def _fresh(
    books: Ledger, logs: Sequence[PartitionLogs], ways: Mapping[str, set[Way]], inference: Inference
) -> list[WindowPrediction]:
    """The windows' predictions in the ways in which they were made, with all at level 0 where none was; that way first."""
    payloads = _payloads(logs)
    windows = [window for window, _, _ in sorted(books.windows.values(), key=lambda w: (w[0].session, w[0].start_us))]
    out: list[WindowPrediction] = []
    for level, muted in sorted({WHOLE}.union(*ways.values()), key=lambda way: (way[0], sorted(way[1]))):
        some = [replace(w, muted=muted) for w in windows if (level, muted) in ways.get(w.id, {WHOLE})]
        out += inference.predict(some, payloads, level)
    return out


def _payloads(logs: Sequence[PartitionLogs]) -> Mapping[MemberPosition, Payload]:
    found: dict[MemberPosition, Payload] = {}
    for one in logs:
        for modality, raws in one.media.items():
            for raw in raws:
                read = cloudevents.parse_envelope(raw.headers, raw.value) if raw.key is not None else None
                if isinstance(read, Envelope):
                    position = MemberPosition(modality, one.partition, raw.offset)
                    found[position] = Payload(read.get("content-type"), read.payload)
    return found
