"""Recompute predictions from their windows and the media logs with a fresh inference, and compare the bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from services.contract import canonical, cloudevents
from services.contract.cloudevents import Envelope
from services.contract.kafka_record import KafkaRecord, MemberPosition
from services.contract.prediction import muted_modalities
from services.fusion.inference import Inference
from services.fusion.stage_values import WindowPrediction
from services.inspection.audit.ledger import Ledger, PartitionLogs
from services.storage.payload_cache import Payload

# The level of overload, and the muted modalities.
Mode = tuple[int, frozenset[str]]
NORMAL: Mode = (0, frozenset())


@dataclass(slots=True)
class RecomputedPredictions:
    """The recomputed final predictions by window id, and the differences from what was published."""

    by_window: dict[str, WindowPrediction] = field(default_factory=dict)
    checked: int = 0
    copies: int = 0
    troubles: list[str] = field(default_factory=list)


def recompute_predictions(
    ledger: Ledger, logs: Sequence[PartitionLogs], published: Sequence[KafkaRecord], inference: Inference
) -> RecomputedPredictions:
    """Check that each window of the ledger has one final prediction, byte for byte equal to a fresh one.

    A window that was predicted at several levels of overload, or with several mutes, is checked in each of these modes;
    the prediction itself names its mode.
    """
    out = RecomputedPredictions()
    published_bytes: dict[str, set[bytes]] = defaultdict(set)
    modes: dict[str, set[Mode]] = defaultdict(set)
    for raw in published:
        record = canonical.loads_object(raw.value or b"")
        if record["final"]:
            published_bytes[record["id"]].add(raw.value or b"")
            out.copies += 1
            if record["model"]["digest"] == inference.model.digest:
                modes[record["id"].rpartition("@")[0]].add((record["level"], muted_modalities(record)))
    fresh = _fresh(ledger, logs, modes, inference)
    for predicted in fresh:
        out.by_window.setdefault(predicted.window.id, predicted)
    for predicted in fresh:
        found = published_bytes.get(predicted.id, set())
        out.checked += 1
        if not found:
            out.troubles.append(f"prediction {predicted.id} is missing")
        elif len(found) > 1:
            out.troubles.append(f"prediction {predicted.id} was published in {len(found)} versions")
        elif found != {predicted.record}:
            out.troubles.append(f"prediction {predicted.id} is not what its window and model give")
    out.copies -= sum(predicted.id in published_bytes for predicted in fresh)
    return out


def _fresh(
    ledger: Ledger, logs: Sequence[PartitionLogs], modes: Mapping[str, set[Mode]], inference: Inference
) -> list[WindowPrediction]:
    """Predict the windows in the modes in which they were predicted; in the normal mode if they were not predicted."""
    payloads = _payloads(logs)
    windows = [window for window, _, _ in sorted(ledger.windows.values(), key=lambda w: (w[0].session, w[0].start_us))]
    out: list[WindowPrediction] = []
    for level, muted in sorted({NORMAL}.union(*modes.values()), key=lambda mode: (mode[0], sorted(mode[1]))):
        some = [replace(w, muted=muted) for w in windows if (level, muted) in modes.get(w.id, {NORMAL})]
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
