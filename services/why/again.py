"""A prediction computed again from what it was made from."""

from __future__ import annotations

from services.fusion.infer import FAILURES, Inference
from services.fusion.predicted import Predicted
from services.why.evidence import Evidence


def answer(evidence: Evidence, inference: Inference) -> Predicted | None:
    """The window of a prediction answered again, None where it is gone or the model is another one."""
    if evidence.window is None or evidence.record["model"]["digest"] != inference.model.digest:
        return None
    try:
        return inference.predict([evidence.window], evidence.payloads, evidence.record["level"])[0]
    except FAILURES as error:
        return inference.failed(evidence.window, type(error).__name__)
