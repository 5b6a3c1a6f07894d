"""Detect events: hysteresis over smoothed scores of a session's predictions in order of start. Pure.

A function of the prediction records alone, so that anyone can detect the events of the predictions topic again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from model.labels import NOTHING, label_kind
from services.contract import canonical
from services.contract.event import Event, event_id
from services.contract.record_fields import (
    check_items,
    check_number,
    check_text,
    check_time_us,
    integer,
    items,
    time_us,
)

if TYPE_CHECKING:
    from model.predictor import ServedModel

DIGITS = 6
LABELS_MAX = 8
SCORE_MIN = 0.02


@dataclass(frozen=True, slots=True)
class DetectorInput:
    """What the detector reads of a prediction: its ids, its window, its most probable labels, and whether it abstains."""

    prediction_id: str
    session: str
    start_us: int
    end_us: int
    previous_us: int | None
    top: tuple[tuple[str, float], ...]
    generation: int = 0
    abstained: bool = False


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A label's smoothed score, and the start of the window from which on the label is running."""

    value: float
    since_us: int


@dataclass(frozen=True, slots=True)
class OpenEvent:
    """An event that goes on; first_us is the start of its first window."""

    first_us: int
    label: str
    start_us: int
    end_us: int
    confidence: float


@dataclass(frozen=True, slots=True)
class DetectorState:
    """A session's state between two final predictions.

    Attributes:
        chain_us: The window with which the chain of windows began.
        last_us: The last window.
        scores: Each label's score.
        open: The event that goes on.
        events: How many events have begun in the chain; the number of the one that goes on.
    """

    chain_us: int
    last_us: int
    scores: tuple[tuple[str, LabelScore], ...] = ()
    open: OpenEvent | None = None
    events: int = 0

    def encode(self) -> bytes:
        """Return canonical JSON, from which `decode` gives the very same state."""
        quoted, event = canonical.dumps_text, self.open
        scores = [f"[{quoted(label)},{score.value!r},{score.since_us}]" for label, score in self.scores]
        open_event = (
            "null"
            if event is None
            else f"[{event.first_us},{quoted(event.label)},{event.start_us},{event.end_us},{event.confidence!r}]"
        )
        return (
            f'{{"chain_us":{self.chain_us},"events":{self.events},"last_us":{self.last_us},"open":{open_event},'
            f'"scores":[{",".join(scores)}]}}'
        ).encode()

    @staticmethod
    def decode(raw: bytes) -> DetectorState:
        """Read a state back. Raises ContractError if it is invalid."""
        record = canonical.loads_object(raw)
        scores = []
        for score in items(record, "scores"):
            label, value, since_us = check_items(score, 3, "a score")
            scores.append(
                (
                    check_text(label, "a label"),
                    LabelScore(float(check_number(value, "a score")), check_time_us(since_us, "a score")),
                )
            )
        event = None
        if record.get("open") is not None:
            first_us, label, start_us, end_us, confidence = check_items(record["open"], 5, "open")
            event = OpenEvent(
                check_time_us(first_us, "open"),
                check_text(label, "open"),
                check_time_us(start_us, "open"),
                check_time_us(end_us, "open"),
                float(check_number(confidence, "open")),
            )
        # States of the first release have no count; its open events go on as number 0 of their chain.
        events = integer(record, "events") if "events" in record else 0
        return DetectorState(time_us(record, "chain_us"), time_us(record, "last_us"), tuple(scores), event, events)


@dataclass(frozen=True, slots=True)
class EventDetector:
    """The thresholds of a model's events, and the step from one prediction to the next.

    Attributes:
        nothing: The label that means that nothing happens.
        kinds: The kind of each label.
        weight: The weight of the newest window in a label's smoothed score.
        on: The score at which an event begins.
        off: The score below which it ends.
        since: The probability from which on a window counts as the first of a label's run.
        change_us: Up to this distance of their runs, another label corrects the open event; beyond, it is a new event.
        lead_us: From a window's start to the moment that it describes.
        expires_us: How long after a window's end an event expires that nothing ends.
        gap_us: The largest distance of windows that follow each other.
        early_on: The score at which an event begins on early predictions, if it is more than `on`.
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

    @classmethod
    def of_model(cls, model: ServedModel) -> EventDetector:
        """Build the detector with the thresholds that come with a model."""
        thresholds = model.decision
        return cls(
            nothing=NOTHING,
            kinds={label: label_kind(label) for label in model.labels},
            weight=thresholds["weight"],
            on=thresholds["on"],
            off=thresholds["off"],
            since=thresholds["since"],
            change_us=int(thresholds["change_us"]),
            lead_us=int(thresholds["lead_us"]),
            expires_us=int(thresholds["expires_us"]),
            gap_us=int(thresholds["gap_us"]),
            early_on=thresholds.get("early_on", thresholds["on"]),
        )

    def update(
        self, state: DetectorState | None, window: DetectorInput, *, final: bool = True
    ) -> tuple[DetectorState, tuple[Event, ...]]:
        """Take the next prediction of a session.

        Args:
            state: The state after the window's predecessor; None, or any other state, starts a new chain.
            window: The prediction.
            final: Marks the events as final or provisional.

        Returns:
            The new state, and the event records: what begins, changes and ends.
        """
        if state is None or window.previous_us is None or state.last_us != window.previous_us:
            state = DetectorState(window.start_us, window.start_us)
        smoothed = self._smoothed(dict(state.scores), window)
        scores = tuple(sorted(smoothed.items(), key=lambda item: (-item[1].value, item[0]))[:LABELS_MAX])
        event, changes = self._next(state.open, dict(scores), window)
        if any(lifecycle == "end" for lifecycle, _ in changes):
            scores = _with_new_runs(scores, window.start_us, event)
        events, number = [], state.events
        for lifecycle, changed in changes:
            number += lifecycle == "new"
            id = event_id(window.session, state.chain_us, number, window.generation)
            events.append(self._event(id, window, changed, lifecycle, final))
        state = replace(state, last_us=window.start_us, scores=scores, open=event, events=number)
        return state, tuple(events)

    def _smoothed(self, scores: dict[str, LabelScore], window: DetectorInput) -> dict[str, LabelScore]:
        now = {label: p for label, p in window.top if label != self.nothing}
        out: dict[str, LabelScore] = {}
        for label in scores.keys() | now.keys():
            p, before = now.get(label, 0.0), scores.get(label)
            value = round(self.weight * p + (1 - self.weight) * (before.value if before else 0.0), DIGITS)
            if value >= SCORE_MIN:
                # A run goes on as long as the label does; one whose score had almost vanished begins anew.
                running = before is not None and before.value >= self.since / 2
                out[label] = LabelScore(value, before.since_us if before is not None and running else window.start_us)
        return out

    def _next(
        self, event: OpenEvent | None, scores: dict[str, LabelScore], window: DetectorInput
    ) -> tuple[OpenEvent | None, list[tuple[str, OpenEvent]]]:
        best = min(scores, key=lambda label: (-scores[label].value, label), default=None)
        if event is None:
            # A model that abstains on a window begins no event with it; an event that has begun goes on.
            if best is None or window.abstained or scores[best].value < self.on:
                return None, []
            event = self._begin(best, scores[best], window)
            return event, [("new", event)]
        own = scores[event.label].value if event.label in scores else 0.0
        rival = None if window.abstained or best == event.label else best
        if rival is not None and scores[rival].value >= self.on and scores[rival].value > own:
            begun = self._begin(rival, scores[rival], window)
            if begun.start_us - event.start_us <= self.change_us:
                changed = replace(event, label=rival, end_us=begun.end_us, confidence=scores[rival].value)
                return changed, [("update", changed)]
            return begun, [("end", event), ("new", begun)]
        if own < self.off:
            return None, [("end", event)]
        if dict(window.top).get(event.label, 0.0) >= self.since:
            event = replace(event, end_us=window.start_us + self.lead_us, confidence=max(own, event.confidence))
        return event, []

    def _begin(self, label: str, score: LabelScore, window: DetectorInput) -> OpenEvent:
        lead_us = self.lead_us
        return OpenEvent(score.since_us, label, score.since_us + lead_us, window.start_us + lead_us, score.value)

    def _event(self, id: str, window: DetectorInput, event: OpenEvent, lifecycle: str, final: bool) -> Event:
        return Event(
            id=id,
            session=window.session,
            lifecycle=lifecycle,
            label=event.label,
            kind=self.kinds[event.label],
            start_us=event.start_us,
            end_us=event.end_us,
            confidence=event.confidence,
            expires_us=window.end_us + self.expires_us,
            final=final,
            prediction=window.prediction_id,
        )


def _with_new_runs(
    scores: tuple[tuple[str, LabelScore], ...], start_us: int, event: OpenEvent | None
) -> tuple[tuple[str, LabelScore], ...]:
    """Begin runs anew after an end, or a later event could start before the ended one."""
    running = None if event is None else event.label
    return tuple((label, s if label == running else LabelScore(s.value, start_us)) for label, s in scores)
