"""The event detector's state of every session that a worker serves, and provisional events on early predictions. Pure.

A sentence that comes half a second late misses the early prediction of the first window that it belongs to. The final
prediction will have it, and its event begins with that window. Without a revision of the early prediction the
provisional event would begin later.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from services.contract import prediction
from services.contract.event import Event
from services.fusion.event_detector import DetectorInput, DetectorState, EventDetector
from services.fusion.load_shedding import SKIP_EARLY
from services.fusion.stage_values import WindowPrediction

SESSIONS_MAX = 100_000
# Early predictions that are held of a session, and how long (us) it is remembered which provisional events went out.
EARLY_MAX, PUBLISHED_US = 64, 60_000_000


@dataclass(slots=True)
class EarlyPrediction:
    """An early prediction, revised by the predictions of later windows.

    Attributes:
        prediction: The early prediction as it was published.
        revised_log_p: The log probabilities of all labels after a revision.
        late_members: By index of the modality, the members (source, id) that came after the prediction.
        late_evidence: What the first window with all of these makes of that modality: log probability over the prior.
    """

    prediction: WindowPrediction
    revised_log_p: NDArray[np.float64] | None = None
    late_members: dict[int, frozenset[tuple[str, str]]] = field(default_factory=dict)
    late_evidence: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def top(self) -> tuple[tuple[str, float], ...]:
        """The most probable labels, as many and rounded as in the record."""
        top = self.prediction.result.top
        if self.revised_log_p is not None:
            order = np.argsort(-self.revised_log_p, kind="stable")[: len(top)]
            top = tuple((self.prediction.labels[i], float(np.exp(self.revised_log_p[i]))) for i in order)
        return tuple((label, round(p, prediction.DIGITS) + 0.0) for label, p in top)

    def revise(self, later: WindowPrediction) -> None:
        """Take over each modality of which a later window has members that belong to this window and came too late.

        The nearest such window counts: one further off has more that this window will never have, such as a word
        spoken after its end.
        """
        is_revised = False
        for i, modality in enumerate(self.prediction.modalities):
            known = self.late_members.get(i, frozenset())
            late = known | _late_members(self.prediction, later, modality)
            if late != known:
                self.late_members[i], self.late_evidence[i] = late, later.rows[1 << i] - later.rows[0]
                is_revised = True
        if is_revised:
            unchanged = (len(self.prediction.rows) - 1) & ~sum(1 << i for i in self.late_evidence)
            # Product of experts: add each modality's own row, with the prior that all rows contain counted once.
            total = self.prediction.rows[unchanged] + sum(self.late_evidence.values())
            self.revised_log_p = total - np.log(np.exp(total).sum())


def _late_members(earlier: WindowPrediction, later: WindowPrediction, modality: str) -> frozenset[tuple[str, str]]:
    window = earlier.window
    before, after = window.modalities.get(modality), later.window.modalities.get(modality)
    if before is None or after is None:
        return frozenset()
    known = {(m.source, m.id) for m in before.members}
    return frozenset(
        (m.source, m.id)
        for m in after.members
        if window.start_us <= m.t_us < window.end_us and not m.alive and (m.source, m.id) not in known
    )


def detector_input(predicted: WindowPrediction) -> DetectorInput:
    """Return what the detector reads of a prediction: the values of its record, rounded as there."""
    window, digits = predicted.window, prediction.DIGITS
    return DetectorInput(
        prediction_id=predicted.id,
        session=window.session,
        start_us=window.start_us,
        end_us=window.end_us,
        previous_us=window.previous_us,
        top=tuple((label, round(p, digits) + 0.0) for label, p in predicted.result.top),
        generation=window.generation,
        abstained=predicted.result.abstained,
    )


def is_foldable(predicted: WindowPrediction) -> bool:
    """Return False for a prediction without a label, and for one that left out a part of its window."""
    return predicted.result.label is not None and predicted.level <= SKIP_EARLY


@dataclass(frozen=True, slots=True)
class ProvisionalEvent:
    """A provisional event that was published.

    Attributes:
        event: The record.
        window_us: The start of the early window with which it began or changed.
        chain_us: Its chain of windows.
        number: Its number in the chain.
    """

    event: Event
    window_us: int
    chain_us: int
    number: int

    def is_confirmed(self, state: DetectorState) -> bool:
        """Return True if the final predictions up to this state began an event under the same id."""
        return self.chain_us == state.chain_us and self.number <= state.events


class EventTracker:
    """The state of each session after its last final prediction, and its provisional events since.

    Provisional events come from the same detector over the early predictions since the last final one, from that very
    state. They change no state, and are published at once when they begin or change. The final events confirm them
    under the same ids. One that no prediction supports any more, once the final prediction of its window has come, is
    withdrawn before that prediction's own events.

    Attributes:
        detector: The thresholds.
        states: By generation id, the least recently updated first.
        has_dropped_sessions: True once there were more sessions than SESSIONS_MAX; the states of those that were
            dropped are only in the predictions topic.
    """

    def __init__(self, detector: EventDetector) -> None:
        self.detector = detector
        self.states: OrderedDict[str, DetectorState] = OrderedDict()
        self.has_dropped_sessions = False
        self._early_detector = replace(detector, on=max(detector.on, detector.early_on))
        self._early: dict[str, list[EarlyPrediction]] = {}
        self._published: dict[str, dict[tuple[str, str], ProvisionalEvent]] = {}

    def last_final_us(self, generation_id: str) -> int | None:
        """Return the start of the last final window of a generation, None if none is known."""
        state = self.states.get(generation_id)
        return None if state is None else state.last_us

    def update(self, predicted: WindowPrediction) -> tuple[Event, ...]:
        """Return the events that a prediction leads to; a final prediction also advances its session's state."""
        id = predicted.window.generation_id
        if not is_foldable(predicted):
            return ()
        if not predicted.window.final:
            return self._provisional(predicted)
        state, events = self.detector.update(self.states.get(id), detector_input(predicted))
        self.states[id] = state
        self.states.move_to_end(id)
        early = self._early.get(id, ())
        self._early[id] = [e for e in early if e.prediction.window.start_us > state.last_us]
        while len(self.states) > SESSIONS_MAX:
            oldest, _ = self.states.popitem(last=False)
            self.has_dropped_sessions = True
            self._early.pop(oldest, None)
            self._published.pop(oldest, None)
        return (*self._withdrawn(predicted, state), *events)

    def _provisional(self, predicted: WindowPrediction) -> tuple[Event, ...]:
        window = predicted.window
        early = self._early.setdefault(window.generation_id, [])
        newest_us = early[-1].prediction.window.start_us if early else self.last_final_us(window.generation_id)
        if newest_us is not None and window.start_us <= newest_us:
            return ()
        for earlier in early:
            if earlier.prediction.window.end_us > window.start_us:
                earlier.revise(predicted)
        early.append(EarlyPrediction(predicted))
        del early[:-EARLY_MAX]
        published = self._published.setdefault(window.generation_id, {})
        new: list[Event] = []
        for one in self._detected_early(window.generation_id, early):
            key = one.event.id, one.event.label
            if key not in published:
                published[key] = one
                new.append(one.event)
        for key in [key for key, one in published.items() if one.window_us < window.start_us - PUBLISHED_US]:
            del published[key]
        return tuple(replace(e, prediction=predicted.id) for e in new)

    def _withdrawn(self, predicted: WindowPrediction, state: DetectorState) -> tuple[Event, ...]:
        """Withdraw the provisional events up to this final prediction that neither it nor a later early one supports."""
        id = predicted.window.generation_id
        published = self._published.get(id, {})
        judged = {
            key: one for key, one in published.items() if one.window_us <= state.last_us and not one.is_confirmed(state)
        }
        if not judged:
            return ()
        expected = {one.event.id for one in self._detected_early(id, self._early.get(id, ()))}
        gone = {key[0]: one.event for key, one in judged.items() if key[0] not in expected}
        for key in [key for key in published if key[0] in gone]:
            del published[key]
        return tuple(replace(e, lifecycle="withdrawn", prediction=predicted.id) for e in gone.values())

    def _detected_early(self, generation_id: str, early: Sequence[EarlyPrediction]) -> list[ProvisionalEvent]:
        """What begins and changes on the early predictions from the last final state on."""
        state = self.states.get(generation_id)
        detected: list[ProvisionalEvent] = []
        for one in early:
            # A revised prediction is as sure as its probabilities say.
            abstained = one.prediction.result.abstained and one.revised_log_p is None
            window = replace(detector_input(one.prediction), top=one.top, abstained=abstained)
            # Early windows name the last final one as their predecessor; here they follow each other.
            if state is not None and window.start_us - state.last_us <= self.detector.gap_us:
                window = replace(window, previous_us=state.last_us)
            state, events = self._early_detector.update(state, window, final=False)
            detected += [
                ProvisionalEvent(e, window.start_us, state.chain_us, state.events)
                for e in events
                if e.lifecycle != "end"
            ]
        return detected
