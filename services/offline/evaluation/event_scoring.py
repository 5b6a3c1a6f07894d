"""Score detected events against the truth of a recorded stream. The only reader of truth files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EARLY_S = 0.5
LATE_S = 2.0


@dataclass(frozen=True, slots=True)
class TrueEvent:
    """An event that really happened (stream seconds)."""

    start_s: float
    end_s: float
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class DetectedEvent:
    """A detected event (stream seconds): its start, and when the first record with this label was published."""

    start_s: float
    kind: str
    label: str
    decided_s: float


@dataclass(frozen=True, slots=True)
class EventScore:
    """Hits, numbers of detected and of true events, and the delays of the hits from their true start (s)."""

    hits: int
    detected: int
    true: int
    delays_s: tuple[float, ...]

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 if there are no events."""
        return 2 * self.hits / (self.detected + self.true) if self.detected + self.true else 0.0


def read_truth(path: Path) -> list[TrueEvent]:
    """Read the events of `Sxx.truth.json`."""
    return [TrueEvent(e["start"], e["end"], e["kind"], str(e["label"])) for e in json.loads(path.read_text())["events"]]


def is_hit(detected: DetectedEvent, true: TrueEvent) -> bool:
    """Return True for the right kind and label, and a start from 0.5 s before the true start to 2 s after the true end."""
    return (detected.kind, detected.label) == (true.kind, true.label) and (
        true.start_s - EARLY_S <= detected.start_s <= true.end_s + LATE_S
    )


def score_events(
    detected: Sequence[DetectedEvent], truth: Sequence[TrueEvent], from_s: float, to_s: float, kind: str | None = None
) -> EventScore:
    """Match events one to one in order of start, over the part [from_s, to_s) of a stream.

    Only events that lie wholly in the part count as true. An event at an edge, of which only a part was played, does
    not count as missed, and what was detected of it does not count as false.
    """
    expected = sorted((t for t in truth if kind in (None, t.kind)), key=lambda t: t.start_s)
    unmatched = sorted((s for s in detected if kind in (None, s.kind)), key=lambda s: s.start_s)
    hits, delays, excused = 0, [], 0
    for true in expected:
        match = next((s for s in unmatched if is_hit(s, true)), None)
        if match is not None:
            unmatched.remove(match)
        if from_s <= true.start_s and true.end_s <= to_s:
            if match is not None:
                hits += 1
                delays.append(match.decided_s - true.start_s)
        elif match is not None:
            excused += 1
    counted = sum(from_s <= t.start_s and t.end_s <= to_s for t in expected)
    total = sum(kind in (None, s.kind) for s in detected) - excused
    return EventScore(hits, total, counted, tuple(delays))


def sum_scores(scores: Sequence[EventScore]) -> EventScore:
    """Return the scores of several streams as one."""
    return EventScore(
        sum(s.hits for s in scores),
        sum(s.detected for s in scores),
        sum(s.true for s in scores),
        tuple(d for s in scores for d in s.delays_s),
    )
