"""All that there is to say of one prediction, as JSON."""

from __future__ import annotations

from itertools import combinations
from shlex import quote
from typing import Any

from services.contract import canonical, moment
from services.contract.media import sound
from services.contract.media.sound import Sound
from services.contract.prediction import LATENCY_HEADER
from services.fusion.infer import Inference
from services.fusion.predicted import Predicted
from services.why.evidence import Evidence, Input

TEXT_TOLD_MAX = 300


def tell(evidence: Evidence, again: Predicted | None, inference: Inference | None) -> dict[str, Any]:
    """The record with its inputs, latency parts and counterfactuals.

    again: the same window answered again by the same model, None where window or model are gone: then, and where the
    model failed, there are no counterfactuals.
    """
    record = evidence.record
    latency = next((raw for name, raw in evidence.headers if name == LATENCY_HEADER), None)
    top = record["top"]
    return {
        **{name: record[name] for name in ("id", "session", "final", "label", "confidence", "score", "baseline")},
        **{name: record[name] for name in ("conflict", "odd", "abstained", "error", "modalities", "model")},
        "window": {
            "start": moment.text_of(record["window"]["start"]),
            "end": moment.text_of(record["window"]["end"]),
            "config": record["window"]["config"],
        },
        "runner_up": top[1] if len(top) > 1 else None,
        "latency": None if latency is None else canonical.loads(latency),
        "inputs": [_input(found) for found in evidence.inputs] if evidence.window else record["inputs"],
        "counterfactuals": []
        if again is None or inference is None or record["label"] is None
        else _without(record, again, inference),
        "reproduce": f"braid why {quote(record['id'])} --reproduce",
    }


def answer(evidence: Evidence, inference: Inference) -> Predicted | None:
    """The window of a prediction answered again, None where it is gone or the model is another one."""
    if evidence.window is None or evidence.record["model"]["digest"] != inference.model.digest:
        return None
    try:
        return inference.predict([evidence.window], evidence.payloads)[0]
    except (RuntimeError, ValueError, MemoryError, ArithmeticError, LookupError, TypeError) as error:
        return inference.failed(evidence.window, type(error).__name__)


def _input(found: Input) -> dict[str, Any]:
    m, payload = found.member, found.payload
    out: dict[str, Any] = {
        "modality": found.modality,
        "topic": found.topic,
        "partition": m.partition,
        "offset": m.offset,
        "source": m.source,
        "id": m.id,
        "captured": moment.text_of(m.t_us),
        "duration_ms": m.duration_us / 1000,
        "sha256": m.sha256,
        "alive": m.alive,
        "delay_ms": None if found.kept is None else found.kept.timestamp - (m.t_us + m.duration_us) / 1000,
        "content_type": payload.content_type if payload else None,
        "bytes": len(payload.body) if payload else None,
    }
    if payload is not None and found.modality == "text":
        out["text"] = payload.body.decode(errors="replace")[:TEXT_TOLD_MAX]
    if payload is not None and found.modality == "audio" and payload.body:
        length = sound.measure(payload.content_type, payload.body)
        out["sound_ms"] = length.duration_us / 1000 if isinstance(length, Sound) else None
    return out


def _without(record: dict[str, Any], again: Predicted, inference: Inference) -> list[dict[str, Any]]:
    """What the model says of each subset of the senses that were there, the fewest taken away first."""
    present = sorted(name for name, sense in record["modalities"].items() if sense["state"] == "present")
    out = []
    for count in range(1, len(present) + 1):
        for gone in combinations(present, count):
            e = inference.explain(again.rows, frozenset(present) - set(gone))
            out.append(
                {
                    "without": list(gone),
                    "label": e.label,
                    "confidence": round(e.confidence, 6),
                    "changes": e.label != record["label"],
                }
            )
    return out
