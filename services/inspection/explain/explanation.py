"""The explanation of one prediction, as JSON: what it was made from, what each input contributed, and how long it took."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import Any

from services.contract import canonical, media_headers, timestamps
from services.contract.media_headers import AudioInfo
from services.contract.prediction import LATENCY_HEADER
from services.storage.evidence import MemberInput, PredictionEvidence

TEXT_SHOWN_MAX = 300


def explain(evidence: PredictionEvidence) -> dict[str, Any]:
    """Return the prediction record with its inputs, its latency and its counterfactuals."""
    record = evidence.record
    latency = next((raw for name, raw in evidence.headers if name == LATENCY_HEADER), None)
    top = record["top"]
    return {
        **{name: record[name] for name in ("id", "session", "final", "label", "confidence", "score", "baseline")},
        **{name: record[name] for name in ("conflict", "odd", "abstained", "error", "modalities", "model")},
        "window": {
            "start": timestamps.format_us(record["window"]["start"]),
            "end": timestamps.format_us(record["window"]["end"]),
            "config": record["window"]["config"],
        },
        "runner_up": top[1] if len(top) > 1 else None,
        "latency": None if latency is None else canonical.loads(latency),
        "inputs": [_input(found) for found in evidence.inputs] if evidence.window else record["inputs"],
        "counterfactuals": counterfactuals(record),
        "reproduce": reproduce_command(record["id"]),
    }


def counterfactuals(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the counterfactuals of a record, each with whether it changes the label."""
    return [c | {"changes": c["label"] != record["label"]} for c in record.get("counterfactuals", ())]


def reproduce_command(id: str) -> str:
    """Return the command that computes a prediction again."""
    return f"braid why {quote(id)} --reproduce"


def _input(found: MemberInput) -> dict[str, Any]:
    m, payload = found.member, found.payload
    out: dict[str, Any] = {
        "modality": found.modality,
        "topic": found.topic,
        "partition": m.partition,
        "offset": m.offset,
        "source": m.source,
        "id": m.id,
        "captured": timestamps.format_us(m.t_us),
        "duration_ms": m.duration_us / 1000,
        "sha256": m.sha256,
        "alive": m.alive,
        "delay_ms": None if found.record is None else found.record.timestamp - (m.t_us + m.duration_us) / 1000,
        "content_type": payload.content_type if payload else None,
        "bytes": len(payload.body) if payload else None,
    }
    if payload is not None and found.modality == "text":
        out["text"] = payload.body.decode(errors="replace")[:TEXT_SHOWN_MAX]
    if payload is not None and found.modality == "audio" and payload.body:
        length = media_headers.measure_audio(payload.content_type, payload.body)
        out["sound_ms"] = length.duration_us / 1000 if isinstance(length, AudioInfo) else None
    return out
