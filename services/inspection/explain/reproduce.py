"""Compute a prediction again. Apart from explanation.py, so that the gateway explains without loading the model."""

from __future__ import annotations

from dataclasses import replace

from services.contract.prediction import muted_modalities
from services.fusion.inference import Inference
from services.fusion.stages import WindowPrediction
from services.storage.evidence import PredictionEvidence


def recompute(evidence: PredictionEvidence, inference: Inference) -> WindowPrediction | None:
    """Predict the window of a prediction again; None if the window is gone or this is not the model that predicted it."""
    if evidence.window is None or evidence.record["model"]["digest"] != inference.model.digest:
        return None
    window = replace(evidence.window, muted=muted_modalities(evidence.record))
    return inference.predict([window], evidence.payloads, evidence.record["level"])[0]
