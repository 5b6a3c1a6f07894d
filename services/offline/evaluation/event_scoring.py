"""Scores decided events against the truth of a recorded stream. The only reader of truth files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

EARLY_S = 0.5
LATE_S = 2.0


@dataclass(frozen=True, slots=True)
class TrueEvent:
    """One event that really happened (stream seconds)."""

    start_s: float
    end_s: float
    kind: str
    label: str


@dataclass(frozen=True, slots=True)
class DetectedEvent:
    """One event that was said (stream seconds): its start, and when the first record with this label was there."""

    start_s: float
    kind: str
    label: str
    decided_s: float


@dataclass(frozen=True, slots=True)
class EventScore:
    """Hits, what was said in all, what was true in all, and the delays of the hits from their true start (s)."""

    hits: int
    detected: int
    true: int
    delays_s: tuple[float, ...]

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where nothing was said."""
        return 2 * self.hits / (self.detected + self.true) if self.detected + self.true else 0.0


def read_truth(path: Path) -> list[TrueEvent]:
    """The events of `Sxx.truth.json`."""
    return [TrueEvent(e["start"], e["end"], e["kind"], str(e["label"])) for e in json.loads(path.read_text())["events"]]


def is_hit(said: DetectedEvent, true: TrueEvent) -> bool:
    """Right kind and label, and a start within half a second before the true start and two after the true end."""
    return (said.kind, said.label) == (true.kind, true.label) and (
        true.start_s - EARLY_S <= said.start_s <= true.end_s + LATE_S
    )


def score_events(
    said: Sequence[DetectedEvent], truth: Sequence[TrueEvent], from_s: float, to_s: float, kind: str | None = None
) -> EventScore:
    """Match one to one in order of start, over the part [from_s, to_s) of a stream.

    Counted as true: events that lie whole in the part. An event at its edges, of which only a part was played, neither
    counts as missed nor makes what is said of it false.
    """
    wanted = sorted((t for t in truth if kind in (None, t.kind)), key=lambda t: t.start_s)
    left = sorted((s for s in said if kind in (None, s.kind)), key=lambda s: s.start_s)
    hits, delays, excused = 0, [], 0
    for true in wanted:
        match = next((s for s in left if is_hit(s, true)), None)
        if match is not None:
            left.remove(match)
        if from_s <= true.start_s and true.end_s <= to_s:
            if match is not None:
                hits += 1
                delays.append(match.decided_s - true.start_s)
        elif match is not None:
            excused += 1
    counted = sum(from_s <= t.start_s and t.end_s <= to_s for t in wanted)
    total = sum(kind in (None, s.kind) for s in said) - excused
    return EventScore(hits, total, counted, tuple(delays))


def sum_scores(scores: Sequence[EventScore]) -> EventScore:
    """The scores of several streams as one."""
    return EventScore(
        sum(s.hits for s in scores),
        sum(s.detected for s in scores),
        sum(s.true for s in scores),
        tuple(d for s in scores for d in s.delays_s),
    )
