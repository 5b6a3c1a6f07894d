"""The prediction record is joined from texts, and equals the canonical JSON of its content."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contract import canonical, prediction
from services.contract.prediction import Counterfactual, ModalityContribution, PredictionResult
from services.contract.window import Member, Window, WindowMembers

MODEL = {"version": "1", "name": 'a "model"', "digest": "d" * 64}
# Texts that look like parts of a record, and texts that JSON escapes.
TEXTS = st.one_of(st.text(st.characters(codec="utf-8"), max_size=8), st.just('","inputs":[]'), st.just("\\"))
NUMBERS = st.one_of(st.floats(-20, 20), st.floats(-2e-3, 2e-3), st.floats(-1e9, 1e9), st.integers(-9, 9).map(float))
TIMES = st.integers(-(1 << 60), 1 << 60)
MEMBERS = st.builds(Member, TEXTS, TEXTS, TIMES, TIMES, TEXTS, st.integers(0, 9), TIMES).map(lambda m: (m,))
LANES = st.builds(WindowMembers, TEXTS, st.none() | TEXTS, st.none() | TIMES, st.just(()) | MEMBERS)
NAMES = st.sampled_from(("text", "video", "audio", "sensor"))
WINDOWS = st.builds(
    Window,
    TEXTS,
    TIMES,
    TIMES,
    st.none() | TIMES,
    st.booleans(),
    TEXTS,
    st.dictionaries(NAMES, LANES),
    TIMES,
    TIMES,
    st.integers(0, 2),
    st.frozensets(NAMES),
)
RESULTS = st.builds(
    PredictionResult,
    st.none() | TEXTS,
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.lists(st.tuples(TEXTS, NUMBERS), max_size=3).map(tuple),
    NUMBERS,
    st.none() | TEXTS,
    st.booleans(),
    st.none() | TEXTS,
    st.lists(st.builds(Counterfactual, st.lists(NAMES).map(tuple), TEXTS, NUMBERS), max_size=3).map(tuple),
)
UNUSABLE = st.lists(st.fixed_dictionaries({"source": TEXTS, "id": TEXTS, "reason": TEXTS}), max_size=2).map(tuple)
CONTRIBUTIONS = st.dictionaries(
    NAMES, st.builds(ModalityContribution, TEXTS, st.none() | TEXTS, st.none() | TIMES, NUMBERS, UNUSABLE)
)


@given(WINDOWS, RESULTS, CONTRIBUTIONS, st.integers(0, 3))
def test_a_prediction_record_is_the_canonical_json_of_its_content(
    window: Window, result: PredictionResult, contributions: dict[str, ModalityContribution], level: int
) -> None:
    def number(value: float) -> float:
        return round(value, 6) + 0.0

    inputs: list[Any] = [
        {"modality": name, "source": m.source, "id": m.id, "t_us": m.t_us, "at": [m.partition, m.offset]}
        for name, lane in window.modalities.items()
        if name not in window.muted
        for m in lane.members
    ]
    content = {
        "id": prediction.prediction_id(
            window.id, MODEL["digest"], level=level, failed=result.label is None, muted=window.muted
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
        "confidence": number(result.confidence),
        "score": number(result.score),
        "baseline": number(result.baseline),
        "top": [{"label": label, "p": number(p)} for label, p in result.top],
        "conflict": number(result.conflict),
        "odd": result.odd,
        "abstained": result.abstained,
        "error": result.error,
        "modalities": {
            name: {
                "state": c.state,
                "evidence": c.evidence,
                "age_ms": c.age_ms,
                "contribution": number(c.contribution),
                "unusable": list(c.unusable),
            }
            for name, c in contributions.items()
        },
        "counterfactuals": [
            {"without": list(c.without), "label": c.label, "confidence": number(c.confidence)}
            for c in result.counterfactuals
        ],
        "model": MODEL,
        "inputs": inputs,
    }
    assert prediction.encode(window, result, contributions, MODEL, level) == canonical.dumps(content)


@pytest.mark.parametrize(
    "result",
    [
        PredictionResult("7", float("nan"), 0.0, 0.0, (), 0.0, None, False),
        PredictionResult("7", 1.0, 0.0, 0.0, (("7", float("inf")),), 0.0, None, False),
        PredictionResult("\ud800", 1.0, 0.0, 0.0, (), 0.0, None, False),
    ],
)
def test_what_no_record_can_hold_is_refused(result: PredictionResult) -> None:
    window = Window("kitchen", 0, 1, None, True, "c", {}, 0, 1)
    with pytest.raises(canonical.UnwritableJson):
        prediction.encode(window, result, {}, MODEL)
