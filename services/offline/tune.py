"""Chooses the thresholds of the event fold on the validation streams, and on no others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from model.data.sets import STREAMS
from model.labels import LABELS, NOTHING, kind_of
from services.audit.score import Score, read_truth, score, total
from services.fusion.decide import Decision
from services.fusion.infer import Inference
from services.offline.stream import Offline, run, said
from services.player.recording import read

DURATION_S = 120.0
EXPIRES_US, GAP_US = 10_000_000, 10_000_000
# From the start of an event's first window to where its start is taken to be: the middle of the window or later.
LEADS_US = (1_000_000, 1_500_000)
# What a second of delay may cost in F1: between thresholds that score alike the faster one is better.
DELAY_WEIGHT = 0.01


@dataclass(frozen=True, slots=True)
class Tuned:
    """The thresholds, and what they score on the validation and on the test streams."""

    decision: Decision
    scores: dict[str, Score]


def decision_from(weight: float, on: float, off: float, since: float, change_us: int, lead_us: int) -> Decision:
    """A decision with these thresholds."""
    kinds = {label: kind_of(label) for label in LABELS}
    return Decision(NOTHING, kinds, weight, on, off, since, change_us, lead_us, EXPIRES_US, GAP_US)


def tune(inference: Inference, data: Path) -> Tuned:
    """Try a grid on S01-S04; S05-S08 are only reported."""
    played = {part: {n: run(read(data, n), inference) for n in names} for part, names in STREAMS.items()}
    best = max(_grid(), key=lambda decision: _worth(_score(played["val"], decision, data)))
    return Tuned(best, {part: _score(offline, best, data) for part, offline in played.items()})


def _grid() -> Iterator[Decision]:
    weights, ons, offs = (0.35, 0.5, 0.65), (0.25, 0.3, 0.35, 0.4, 0.45, 0.5), (0.1, 0.2, 0.3)
    for values in product(weights, ons, offs, (0.2, 0.35, 0.5), (1_000_000, 2_000_000), LEADS_US):
        if values[2] < values[1]:
            yield decision_from(*values)


def _score(played: dict[str, Offline], decision: Decision, data: Path) -> Score:
    return total(
        [
            score(said(offline, decision), read_truth(data / "homestream" / f"{name}.truth.json"), 0, DURATION_S)
            for name, offline in played.items()
        ]
    )


def _worth(found: Score) -> float:
    return found.f1 - DELAY_WEIGHT * _median(found.delays_s)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0
