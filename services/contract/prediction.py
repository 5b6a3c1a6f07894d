"""The prediction record: a function of one window and one model, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from services.contract import canonical
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
    """The id of what one model says of one window: `+d<level>` when degraded, `+e` when the model failed on it.

    `+m.<modality>…` where senses were muted: so that an id has one value, whenever people mute.
    """
    said = f"{window_id}@{model_digest[:12]}" + (f"+d{level}" if level else "") + ("+e" if failed else "")
    return said + (f"+m.{'.'.join(sorted(muted))}" if muted else "")


def muted_modalities(record: Mapping[str, Any]) -> frozenset[str]:
    """The senses that were muted for a prediction, as its record says. Raises KeyError or TypeError for what is none."""
    return frozenset(name for name, sense in record["modalities"].items() if sense["state"] == MUTED)


@dataclass(frozen=True, slots=True)
class ModalityContribution:
    """One modality of a prediction: its state, the age of its newest member at the window's end, its contribution."""

    state: str
    evidence: str | None
    age_ms: int | None
    contribution: float
    unusable: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Counterfactual:
    """What the model would have said had these senses not been there."""

    without: tuple[str, ...]
    label: str
    confidence: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said; score and baseline are log probabilities of the label, contributions sum to their difference.

    label None and an error where the model failed on this window. counterfactuals: one for every set of the senses that
    were there, the fewest taken away first.
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
    window: Window, answer: Answer, senses: dict[str, ModalityContribution], model: dict[str, str], level: int = 0
) -> bytes:
    """The canonical bytes of a prediction; floats rounded to 6 decimals, no wall-clock field.

    The inputs are put together from the texts of the members, which stand in several windows.
    """
    inputs = [
        m.input_text(name) for name, lane in window.modalities.items() if name not in window.muted for m in lane.members
    ]
    # No text holds this, for its quotes would be escaped.
    return canonical.dumps(
        {
            "id": prediction_id(
                window.id, model["digest"], level=level, failed=answer.label is None, muted=window.muted
            ),
            "session": window.session,
            "window": {
                "start": window.start_us,
                "end": window.end_us,
                "previous": window.previous_us,
                "digest": window.digest,
                "config": window.config,
            },
            "revision": window.revision,
            "final": window.final,
            "level": level,
            "label": answer.label,
            "confidence": _rounded(answer.confidence),
            "score": _rounded(answer.score),
            "baseline": _rounded(answer.baseline),
            "top": [{"label": label, "p": _rounded(p)} for label, p in answer.top],
            "conflict": _rounded(answer.conflict),
            "odd": answer.odd,
            "abstained": answer.abstained,
            "error": answer.error,
            "modalities": {
                name: {
                    "state": sense.state,
                    "evidence": sense.evidence,
                    "age_ms": sense.age_ms,
                    "contribution": _rounded(sense.contribution),
                    "unusable": list(sense.unusable),
                }
                for name, sense in senses.items()
            },
            "counterfactuals": [
                {"without": list(c.without), "label": c.label, "confidence": _rounded(c.confidence)}
                for c in answer.counterfactuals
            ],
            "model": model,
            "inputs": [],
        }
    ).replace(b'"inputs":[]', f'"inputs":[{",".join(inputs)}]'.encode(), 1)


def _rounded(value: float) -> float:
    # Minus zero and zero are one number but two texts.
    return round(float(value), DIGITS) + 0.0
