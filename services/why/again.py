"""A prediction computed again from what it was made from."""

from __future__ import annotations

from dataclasses import replace

from services.contract.prediction import muted_of
from services.fusion.infer import FAILURES, Inference
from services.fusion.predicted import Predicted
from services.why.evidence import Evidence


def answer(evidence: Evidence, inference: Inference) -> Predicted | None:
    """The window of a prediction answered again, None where it is gone or the model is another one."""
    if evidence.window is None or evidence.record["model"]["digest"] != inference.model.digest:
        return None
    window = replace(evidence.window, muted=muted_of(evidence.record))
    try:
        return inference.predict([window], evidence.payloads, evidence.record["level"])[0]
    except FAILURES as error:
        return inference.failed(window, type(error).__name__)
