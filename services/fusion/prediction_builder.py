"""Predictions from what was inferred: explanations and counterfactuals in one pass over a batch, and records. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from model.explain import Explanation, explain_windows
from model.predictor import ServedModel
from services.contract import prediction
from services.contract.chunk import EMPTY_SHA256
from services.contract.prediction import MUTED, Counterfactual, ModalityContribution, PredictionResult
from services.contract.window import Window
from services.fusion.stage_values import FAILURES, ModelInputs, WindowInputs, WindowPrediction

Explained = tuple[Explanation, tuple[Counterfactual, ...]]


def counterfactuals(
    rows: NDArray[np.float64], present: frozenset[str], modalities: Sequence[str], labels: Sequence[str]
) -> list[tuple[Counterfactual, ...]]:
    """Return for each window one counterfactual for every non-empty set of the present modalities, the smallest sets first.

    rows: log probabilities float64 [windows, 2^modalities, labels] of all subsets; bit i of a row's index stands for
    modality i.
    """
    without = _rows_without(present, tuple(modalities))
    return [
        tuple([Counterfactual(removed, labels[best[n]], p[n]) for removed, n in without])
        for best, p in zip(rows.argmax(2).tolist(), np.exp(rows.max(2)).tolist(), strict=True)
    ]


@lru_cache(256)
def _rows_without(present: frozenset[str], modalities: tuple[str, ...]) -> Sequence[tuple[tuple[str, ...], int]]:
    """Every non-empty set of the present modalities, and the index of the row without it."""
    bits = [(m, 1 << i) for i, m in enumerate(modalities) if m in present]
    everything = sum(bit for _, bit in bits)
    return [
        (tuple(m for m, _ in removed), everything - sum(bit for _, bit in removed))
        for count in range(1, len(bits) + 1)
        for removed in combinations(bits, count)
    ]


class PredictionBuilder:
    """Builds the predictions of a model.

    Args:
        model: The model.
        rows_of_nothing: What it infers of a window without inputs.
    """

    def __init__(self, model: ServedModel, rows_of_nothing: NDArray[np.float64]) -> None:
        self._model, self._rows_of_nothing = model, rows_of_nothing
        self._record = {"name": model.name, "version": model.version, "digest": model.digest}

    def build(self, inputs: ModelInputs, rows: Sequence[NDArray[np.float64]]) -> list[WindowPrediction]:
        """Build the prediction of each decoded window; rows: what was inferred of each."""
        by_present: dict[frozenset[str], list[int]] = {}
        for place, of_window in enumerate(inputs.per_window):
            if of_window.error is None:
                by_present.setdefault(of_window.present, []).append(place)
        explained: dict[int, Explained] = {}
        for present, places in by_present.items():
            self._explain_all(present, places, inputs.per_window, rows, explained)
        return [
            self._prediction(window, of_window, rows[place], explained.get(place))
            for place, (window, of_window) in enumerate(zip(inputs.windows, inputs.per_window, strict=True))
        ]

    def _explain_all(
        self,
        present: frozenset[str],
        places: Sequence[int],
        per_window: Sequence[WindowInputs],
        rows: Sequence[NDArray[np.float64]],
        explained: dict[int, Explained],
    ) -> None:
        """Explain windows with the same modalities. If that fails, split them until the culprit is alone, which gets the error."""
        m = self._model
        try:
            stacked = np.stack([rows[place] for place in places])
            explanations = explain_windows(stacked, present, m.modalities, m.labels, m.conflict_from, m.conformal)
            others = counterfactuals(stacked, present, m.modalities, m.labels)
            explained.update(zip(places, zip(explanations, others, strict=True), strict=True))
        except FAILURES as error:
            if len(places) == 1:
                per_window[places[0]].error = type(error).__name__
                return
            for place in places:
                self._explain_all(present, [place], per_window, rows, explained)

    def _prediction(
        self, window: Window, inputs: WindowInputs, rows: NDArray[np.float64], explained: Explained | None
    ) -> WindowPrediction:
        if explained is None:
            return self._failed(window, inputs.error or "")
        try:
            return self._predicted(window, inputs, rows, *explained)
        except FAILURES as error:  # Such as a result that is not a number, which no record can hold.
            return self._failed(window, type(error).__name__)

    def _failed(self, window: Window, error: str) -> WindowPrediction:
        """The prediction of a window on which the model failed: no label, and the error."""
        result = PredictionResult(None, 0.0, 0.0, 0.0, (), 0.0, None, True, error)
        contributions = {
            name: ModalityContribution(MUTED if name in window.muted else stream.state, stream.evidence, None, 0.0)
            for name, stream in window.modalities.items()
        }
        value = prediction.encode(window, result, contributions, self._record)
        id = prediction.prediction_id(window.id, self._model.digest, failed=True, muted=window.muted)
        return WindowPrediction(id, window, value, result, self._rows_of_nothing, ())

    def _predicted(
        self,
        window: Window,
        inputs: WindowInputs,
        rows: NDArray[np.float64],
        e: Explanation,
        others: tuple[Counterfactual, ...],
    ) -> WindowPrediction:
        model, present = self._model, inputs.present
        result = PredictionResult(
            e.label, e.confidence, e.score, e.baseline, e.top, e.conflict, e.odd, e.abstained, counterfactuals=others
        )
        contributions: dict[str, ModalityContribution] = {}
        for name, stream in window.modalities.items():
            if name in window.muted:
                contributions[name] = ModalityContribution(MUTED, stream.evidence, None, 0.0)
                continue
            bad = inputs.unusable.get(name, ())
            newest = max([m.t_us for m in stream.members if m.sha256 != EMPTY_SHA256], default=None)
            contributions[name] = ModalityContribution(
                state=_state(name, stream.state, inputs, present),
                evidence=stream.evidence,
                age_ms=None if newest is None else (window.end_us - newest) // 1000,
                contribution=e.contributions.get(name, 0.0),
                unusable=tuple([{"source": m.source, "id": m.id, "reason": r.reason.value} for m, r in bad]),
            )
        value = prediction.encode(window, result, contributions, self._record, inputs.level)
        unusable = tuple((name, m, r) for name, bad in inputs.unusable.items() for m, r in bad)
        id = prediction.prediction_id(window.id, model.digest, level=inputs.level, muted=window.muted)
        return WindowPrediction(
            id, window, value, result, rows, unusable, model.modalities, model.labels, inputs.level, e.contributions
        )


def _state(name: str, aligned: str, inputs: WindowInputs, present: frozenset[str]) -> str:
    """Return the state of a modality in a prediction; `aligned` is that in the window."""
    if name in inputs.skipped:
        return "skipped"
    if name in present:
        return aligned
    if inputs.unusable.get(name):
        return "unusable"
    return "absent" if name in inputs.silent else aligned
