"""The prediction record: a function of one window and one model only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from services.contract import canonical
from services.contract.record_fields import (
    ContractError,
    check_fields,
    fields,
    flag,
    integer,
    items,
    number,
    objects,
    text,
    text_or_none,
    time_us,
)
from services.contract.window import Window

STATE_HEADER = "braid-state"
LATENCY_HEADER = "braid-latency"
TRACE_HEADER = "traceparent"
DIGITS = 6
MUTED = "muted"
STATES = ("present", "absent", "unknown", "unusable", MUTED, "skipped")


def prediction_id(
    window_id: str, model_digest: str, *, level: int = 0, failed: bool = False, muted: Collection[str] = ()
) -> str:
    """Return the id of a prediction: `+d<level>` if degraded, `+e` if the model failed on the window.

    `+m.<modality>…` lists muted modalities, so that one id never has two values.
    """
    id = f"{window_id}@{model_digest[:12]}" + (f"+d{level}" if level else "") + ("+e" if failed else "")
    return id + (f"+m.{'.'.join(sorted(muted))}" if muted else "")


def muted_modalities(record: Mapping[str, Any]) -> frozenset[str]:
    """Return the muted modalities of a decoded prediction record."""
    return frozenset(name for name, modality in record["modalities"].items() if modality["state"] == MUTED)


def decode(raw: bytes | None) -> dict[str, Any]:
    """Decode a prediction record; every field that a reader uses has its type. Raises ContractError."""
    record = canonical.loads_object(raw or b"")
    for name in ("id", "session"):
        text(record, name)
    window = fields(record, "window")
    for name in ("start", "end"):
        time_us(window, name)
    if "generation" in window:
        integer(window, "generation")
    for name in ("final", "abstained"):
        flag(record, name)
    text_or_none(record, "label")
    number(record, "confidence")
    for stream in fields(record, "modalities").values():
        text(check_fields(stream, "a modality"), "state")
    # Records of earlier releases lack some of these.
    for top in objects(record, "top") if "top" in record else ():
        text(top, "label")
        number(top, "p")
    for other in objects(record, "counterfactuals") if "counterfactuals" in record else ():
        text(other, "label")
        number(other, "confidence")
        items(other, "without")
    for member in objects(record, "inputs") if "inputs" in record else ():
        text(member, "modality")
    if "model" in record:
        text(fields(record, "model"), "digest")
    if "level" in record:
        integer(record, "level")
    return record


def decode_or_none(raw: bytes | None) -> dict[str, Any] | None:
    """Decode a prediction record; return None if it is none."""
    try:
        return decode(raw)
    except ContractError:
        return None


@dataclass(frozen=True, slots=True)
class ModalityContribution:
    """One modality of a prediction; age_ms is the age of its newest member at the window's end."""

    state: str
    evidence: str | None
    age_ms: int | None
    contribution: float
    unusable: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """The prediction without some of the modalities."""

    without: tuple[str, ...]
    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class PredictionResult:
    """The output of the model for one window.

    Attributes:
        label: The most probable label; None, with an error, if the model failed on this window.
        score: Log probability of the label.
        baseline: The same for an empty window; the contributions sum to the difference.
        counterfactuals: One for each set of present modalities, those that leave out the fewest first.
    """

    label: str | None
    confidence: float
    score: float
    baseline: float
    top: tuple[tuple[str, float], ...]
    conflict: float
    odd: str | None
    abstained: bool
    error: str | None = None
    counterfactuals: tuple[Counterfactual, ...] = ()


def encode(
    window: Window,
    result: PredictionResult,
    modalities: dict[str, ModalityContribution],
    model: dict[str, str],
    level: int = 0,
) -> bytes:
    """Return the canonical bytes of a prediction: floats are rounded to 6 decimals, no field has a wall-clock time.

    The inputs are joined from texts that members build once for all of their windows.
    """
    inputs = [
        m.input_text(name)
        for name, stream in window.modalities.items()
        if name not in window.muted
        for m in stream.members
    ]
    # No other text contains `"inputs":[]`, because its quotes would be escaped.
    return canonical.dumps(
        {
            "id": prediction_id(
                window.id, model["digest"], level=level, failed=result.label is None, muted=window.muted
            ),
            "session": window.session,
            "window": {
                "start": window.start_us,
                "end": window.end_us,
                "previous": window.previous_us,
                "digest": window.digest,
                "config": window.config,
                **({"generation": window.generation} if window.generation else {}),
            },
            "revision": window.revision,
            "final": window.final,
            "level": level,
            "label": result.label,
            "confidence": _rounded(result.confidence),
            "score": _rounded(result.score),
            "baseline": _rounded(result.baseline),
            "top": [{"label": label, "p": _rounded(p)} for label, p in result.top],
            "conflict": _rounded(result.conflict),
            "odd": result.odd,
            "abstained": result.abstained,
            "error": result.error,
            "modalities": {
                name: {
                    "state": modality.state,
                    "evidence": modality.evidence,
                    "age_ms": modality.age_ms,
                    "contribution": _rounded(modality.contribution),
                    "unusable": list(modality.unusable),
                }
                for name, modality in modalities.items()
            },
            "counterfactuals": [
                {"without": list(c.without), "label": c.label, "confidence": _rounded(c.confidence)}
                for c in result.counterfactuals
            ],
            "model": model,
            "inputs": [],
        }
    ).replace(b'"inputs":[]', f'"inputs":[{",".join(inputs)}]'.encode(), 1)


def _rounded(value: float) -> float:
    # Adding 0.0 turns minus zero into zero: one number must not have two texts.
    return round(float(value), DIGITS) + 0.0
