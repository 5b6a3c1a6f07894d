"""Events: a fold over a session's predictions in order of start. Pure, and a function of the records alone.

Only what a prediction record carries is used, so that anyone can fold the predictions topic again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from services.contract import canonical
from services.contract.event import Event, event_id

DIGITS = 6
LABELS_MAX = 8
SCORE_MIN = 0.02


@dataclass(frozen=True, slots=True)
class EventDetector:
    """The thresholds of the fold; they come with the model.

    weight: of the newest window in a label's smoothed score; on, off: scores at which an event begins and ends;
    early_on: the score at which it is said on early answers, where that is more than `on`; since:
    the probability from which a window counts as the first of a label's run; change_us: up to which distance of their
    runs another label is a correction of the open event and not a new one; lead_us: from a window's start to the
    moment that it speaks of; expires_us: how long after a window's end an event is kept that nothing ends; gap_us: the
    largest distance of windows that follow each other.
    """

    nothing: str
    kinds: Mapping[str, str]
    weight: float
    on: float
    off: float
    since: float
    change_us: int
    lead_us: int
    expires_us: int
    gap_us: int
    early_on: float = 0.0


@dataclass(frozen=True, slots=True)
class DetectorInput:
    """What the fold sees of a prediction: the ids, the window, and its most probable labels."""

    prediction_id: str
    session: str
    start_us: int
    end_us: int
    previous_us: int | None
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A label's smoothed score, and the start of the window from which on it has been seen."""

    value: float
    since_us: int


@dataclass(frozen=True, slots=True)
class OpenEvent:
    """The event that goes on: the start of its first window gives its id."""

    first_us: int
    label: str
    start_us: int
    end_us: int
    confidence: float


@dataclass(frozen=True, slots=True)
class DetectorState:
    """What is carried from one final prediction to the next; chain_us: the window with which the chain began."""

    chain_us: int
    last_us: int
    scores: tuple[tuple[str, LabelScore], ...] = ()
    open: OpenEvent | None = None

    def encode(self) -> bytes:
        """Canonical JSON; reading it back gives the very same state."""
        opened = self.open
        return canonical.dumps(
            {
                "chain_us": self.chain_us,
                "last_us": self.last_us,
                "scores": [[label, score.value, score.since_us] for label, score in self.scores],
                "open": None
                if opened is None
                else [opened.first_us, opened.label, opened.start_us, opened.end_us, opened.confidence],
            }
        )

    @staticmethod
    def decode(raw: bytes) -> DetectorState:
        """Raises canonical.InvalidJson, KeyError, TypeError or ValueError where it is no state."""
        read: dict[str, Any] = canonical.loads_object(raw)
        scores = tuple((label, LabelScore(float(value), since)) for label, value, since in read["scores"])
        return DetectorState(
            read["chain_us"], read["last_us"], scores, None if read["open"] is None else OpenEvent(*read["open"])
        )


def detect(
    state: DetectorState | None, window: DetectorInput, detector: EventDetector, *, final: bool = True
) -> tuple[DetectorState, tuple[Event, ...]]:
    """Take the next prediction of a session: the new state, and what it begins, changes and ends (in that order last).

    state None, or one that does not belong to the window's predecessor: a new chain starts from nothing.
    """
    if state is None or window.previous_us is None or state.last_us != window.previous_us:
        state = DetectorState(window.start_us, window.start_us)
    scores = _smoothed(dict(state.scores), window, detector)
    kept = tuple(sorted(scores.items(), key=lambda item: (-item[1].value, item[0]))[:LABELS_MAX])
    opened, said = _next(state.open, dict(kept), window, detector)
    if any(life == "end" for life, _ in said):
        kept = _behind(kept, window.start_us, opened)
    state = replace(state, last_us=window.start_us, scores=kept, open=opened)
    return state, tuple(_event(window, detector, o, life, final) for life, o in said)


def _behind(
    scores: tuple[tuple[str, LabelScore], ...], start_us: int, opened: OpenEvent | None
) -> tuple[tuple[str, LabelScore], ...]:
    """Scores after an end: runs begin anew, or a later event could start before the ended one and take its id."""
    going = None if opened is None else opened.label
    return tuple((label, s if label == going else LabelScore(s.value, start_us)) for label, s in scores)


def _smoothed(scores: dict[str, LabelScore], window: DetectorInput, detector: EventDetector) -> dict[str, LabelScore]:
    now = {label: p for label, p in window.top if label != detector.nothing}
    out: dict[str, LabelScore] = {}
    for label in scores.keys() | now.keys():
        p, before = now.get(label, 0.0), scores.get(label)
        value = round(detector.weight * p + (1 - detector.weight) * (before.value if before else 0.0), DIGITS)
        if value >= SCORE_MIN:
            # A run goes on as long as the label does; one that had all but gone begins anew.
            running = before is not None and before.value >= detector.since / 2
            out[label] = LabelScore(value, before.since_us if before is not None and running else window.start_us)
    return out


def _next(
    opened: OpenEvent | None, scores: dict[str, LabelScore], window: DetectorInput, detector: EventDetector
) -> tuple[OpenEvent | None, list[tuple[str, OpenEvent]]]:
    best = min(scores, key=lambda label: (-scores[label].value, label), default=None)
    if opened is None:
        if best is None or scores[best].value < detector.on:
            return None, []
        opened = _begin(best, scores[best], window, detector)
        return opened, [("new", opened)]
    own = scores[opened.label].value if opened.label in scores else 0.0
    if best is not None and best != opened.label and scores[best].value >= detector.on and scores[best].value > own:
        begun = _begin(best, scores[best], window, detector)
        if begun.start_us - opened.start_us <= detector.change_us:
            changed = replace(opened, label=best, end_us=begun.end_us, confidence=scores[best].value)
            return changed, [("update", changed)]
        return begun, [("end", opened), ("new", begun)]
    if own < detector.off:
        return None, [("end", opened)]
    if dict(window.top).get(opened.label, 0.0) >= detector.since:
        opened = replace(opened, end_us=window.start_us + detector.lead_us, confidence=max(own, opened.confidence))
    return opened, []


def _begin(label: str, score: LabelScore, window: DetectorInput, detector: EventDetector) -> OpenEvent:
    lead_us = detector.lead_us
    return OpenEvent(score.since_us, label, score.since_us + lead_us, window.start_us + lead_us, score.value)


def _event(window: DetectorInput, detector: EventDetector, opened: OpenEvent, lifecycle: str, final: bool) -> Event:
    return Event(
        id=event_id(window.session, opened.first_us),
        session=window.session,
        lifecycle=lifecycle,
        label=opened.label,
        kind=detector.kinds[opened.label],
        start_us=opened.start_us,
        end_us=opened.end_us,
        confidence=opened.confidence,
        expires_us=window.end_us + detector.expires_us,
        final=final,
        prediction=window.prediction_id,
    )
