"""The prediction record: a function of one window and one model only."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

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


class ModalityContribution(NamedTuple):
    """One modality of a prediction; age_ms is the age of its newest member at the window's end."""

    state: str
    evidence: str | None
    age_ms: int | None
    contribution: float
    unusable: tuple[dict[str, Any], ...] = ()


class Counterfactual(NamedTuple):
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

    They are joined from texts, because the inputs are most of a record and each is in several windows. The result equals
    `canonical.dumps` of the same content (tests/unit/contract/test_prediction.py).

    Raises:
        UnwritableJson: A number is not finite, or a text has no UTF-8.
    """
    quoted = canonical.dumps_text
    id = prediction_id(window.id, model["digest"], level=level, failed=result.label is None, muted=window.muted)
    inputs = [
        m.input_text(name)
        for name, stream in window.modalities.items()
        if name not in window.muted
        for m in stream.members
    ]
    # Only after a reset, so that all other windows keep their bytes.
    generation = f'"generation":{window.generation},' if window.generation else ""
    text = (
        f'{{"abstained":{_flag(result.abstained)},"baseline":{_number(result.baseline)},'
        f'"confidence":{_number(result.confidence)},"conflict":{_number(result.conflict)},'
        f'"counterfactuals":[{",".join([_counterfactual(c) for c in result.counterfactuals])}],'
        f'"error":{_text_or_null(result.error)},"final":{_flag(window.final)},"id":{quoted(id)},'
        f'"inputs":[{",".join(inputs)}],"label":{_text_or_null(result.label)},"level":{level},'
        f'"modalities":{{{",".join([_modality(*one) for one in sorted(modalities.items())])}}},'
        f'"model":{_model(tuple(model.items()))},"odd":{_text_or_null(result.odd)},"revision":{window.revision},'
        f'"score":{_number(result.score)},"session":{quoted(window.session)},'
        f'"top":[{",".join([_top(label, p) for label, p in result.top])}],'
        f'"window":{{"config":{quoted(window.config)},"digest":{quoted(window.digest)},"end":{window.end_us},{generation}'
        f'"previous":{"null" if window.previous_us is None else window.previous_us},"start":{window.start_us}}}}}'
    )
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise canonical.UnwritableJson("a text holds half a character (a lone surrogate)") from None


def _number(value: float) -> str:
    value = float(value)
    if value - value != 0.0:
        raise canonical.UnwritableJson("a number is not finite")
    if 1e-3 <= abs(value) < 1e6:
        # The same text as below at a third of the cost. Smaller numbers may have an exponent, larger ones other digits.
        text = f"{value:.{DIGITS}f}".rstrip("0")
        return text + "0" if text[-1] == "." else text
    # Adding 0.0 turns minus zero into zero: one number must not have two texts.
    return repr(round(value, DIGITS) + 0.0)


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _text_or_null(value: str | None) -> str:
    return "null" if value is None else canonical.dumps_text(value)


def _top(label: str, p: float) -> str:
    return f'{{"label":{canonical.dumps_text(label)},"p":{_number(p)}}}'


def _counterfactual(other: Counterfactual) -> str:
    without, label, confidence = other
    return f'{{"confidence":{_number(confidence)},"label":{canonical.dumps_text(label)},"without":{_texts(without)}}}'


def _modality(name: str, modality: ModalityContribution) -> str:
    unusable = canonical.dumps(list(modality.unusable)).decode() if modality.unusable else "[]"
    return (
        f'{canonical.dumps_text(name)}:{{"age_ms":{"null" if modality.age_ms is None else modality.age_ms},'
        f'"contribution":{_number(modality.contribution)},"evidence":{_text_or_null(modality.evidence)},'
        f'"state":{canonical.dumps_text(modality.state)},"unusable":{unusable}}}'
    )


@lru_cache(256)
def _texts(values: tuple[str, ...]) -> str:
    return f"[{','.join(map(canonical.dumps_text, values))}]"


@lru_cache(16)
def _model(items: tuple[tuple[str, str], ...]) -> str:
    return canonical.dumps(dict(items)).decode()
