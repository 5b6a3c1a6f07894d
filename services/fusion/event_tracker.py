"""Early answers made good: what came after a window's early answer and belongs to it. Pure.

A sentence that comes half a second late misses the early answer of the first window that it belongs to. The final
answer will hold it, and its events begin with that window; a guess that did not look back would begin them later,
under another id, and be withdrawn.

Chains: the folds of the sessions that a worker serves, final and provisional.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from services.contract import prediction
from services.contract.event import Event
from services.fusion.event_detector import DetectorInput, DetectorState, EventDetector, detect
from services.fusion.load_shedding import SKIP_EARLY
from services.fusion.stages import WindowPrediction


@dataclass(slots=True)
class EarlyPrediction:
    """An early answer and the log probabilities of its window, made good by later ones.

    missed: by place of the sense, the members that came after the answer; heard: what the first window that held them
    all makes of that sense.
    """

    prediction: WindowPrediction
    revised_log_p: NDArray[np.float64] | None = None
    late_members: dict[int, frozenset[tuple[str, str]]] = field(default_factory=dict)
    late_evidence: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def top(self) -> tuple[tuple[str, float], ...]:
        """The most probable labels, as many and rounded as in the record."""
        told = self.prediction.answer.top
        if self.revised_log_p is not None:
            order = np.argsort(-self.revised_log_p, kind="stable")[: len(told)]
            told = tuple((self.prediction.labels[i], float(np.exp(self.revised_log_p[i]))) for i in order)
        return tuple((label, round(p, prediction.DIGITS) + 0.0) for label, p in told)

    def revise(self, later: WindowPrediction) -> None:
        """Take in what a later window holds of this one: each such sense is heard as the nearest such window hears it.

        One that is further off holds more that this window will never hold: a word said after its end.
        """
        news = False
        for i, modality in enumerate(self.prediction.modalities):
            known = self.late_members.get(i, frozenset())
            found = known | _missed(self.prediction, later, modality)
            if found != known:
                self.late_members[i], self.late_evidence[i], news = found, later.rows[1 << i] - later.rows[0], True
        if news:
            ours = (len(self.prediction.rows) - 1) & ~sum(1 << i for i in self.late_evidence)
            # The product of experts: each sense's own row, the prior that both hold taken out once.
            total = self.prediction.rows[ours] + sum(self.late_evidence.values())
            self.revised_log_p = total - np.log(np.exp(total).sum())


def _missed(earlier: WindowPrediction, later: WindowPrediction, modality: str) -> frozenset[tuple[str, str]]:
    window, ours, theirs = earlier.window, *(p.window.modalities.get(modality) for p in (earlier, later))
    if ours is None or theirs is None:
        return frozenset()
    held = {(m.source, m.id) for m in ours.members}
    return frozenset(
        (m.source, m.id)
        for m in theirs.members
        if window.start_us <= m.t_us < window.end_us and not m.alive and (m.source, m.id) not in held
    )


SESSIONS_MAX = 100_000
# Early answers of a session kept for its guess, and how long it is remembered what was guessed.
EARLY_MAX, PUBLISHED_US = 64, 60_000_000


def detector_input(predicted: WindowPrediction) -> DetectorInput:
    """What the fold sees of a prediction: what its record carries, rounded as there."""
    window, answer = predicted.window, predicted.answer
    digits = prediction.DIGITS
    return DetectorInput(
        prediction_id=predicted.id,
        session=window.session,
        start_us=window.start_us,
        end_us=window.end_us,
        previous_us=window.previous_us,
        top=tuple((label, round(p, digits) + 0.0) for label, p in answer.top),
    )


def is_foldable(predicted: WindowPrediction) -> bool:
    """Whether the fold takes a prediction: not one without an answer, nor one for which a part of the window was left out."""
    return predicted.answer.label is not None and predicted.level <= SKIP_EARLY


class EventTracker:
    """The state of each session after its last final prediction, and a guess that runs ahead of it on early ones.

    The guess is the same fold over the early answers since then, from that very state; it changes no state, and what it
    begins or changes is published as provisional at once. The final fold confirms it under the same id, or it expires.
    `forgot` is set once there were more sessions than are kept: those heard longest ago are then only in the
    predictions topic.
    """

    def __init__(self, decision: EventDetector) -> None:
        self.detector = decision
        self.states: OrderedDict[str, DetectorState] = OrderedDict()
        self.has_dropped_sessions = False
        self._early = replace(decision, on=max(decision.on, decision.early_on))
        self._ahead: dict[str, list[EarlyPrediction]] = {}
        self._said: dict[str, dict[tuple[str, str], int]] = {}

    def last_final_us(self, session: str) -> int | None:
        """The start of a session's last final window, None where none is known."""
        state = self.states.get(session)
        return None if state is None else state.last_us

    def update(self, predicted: WindowPrediction) -> tuple[Event, ...]:
        """The events that a prediction leads to; a final one moves the state on."""
        session = predicted.window.session
        if not is_foldable(predicted):
            return ()
        if not predicted.window.final:
            return self._guess(predicted)
        state, events = detect(self.states.get(session), detector_input(predicted), self.detector)
        self.states[session] = state
        self.states.move_to_end(session)
        self._ahead[session] = [a for a in self._ahead.get(session, ()) if a.prediction.window.start_us > state.last_us]
        while len(self.states) > SESSIONS_MAX:
            oldest, _ = self.states.popitem(last=False)
            self.has_dropped_sessions = True
            self._ahead.pop(oldest, None)
            self._said.pop(oldest, None)
        return events

    def _guess(self, predicted: WindowPrediction) -> tuple[Event, ...]:
        window = predicted.window
        ahead = self._ahead.setdefault(window.session, [])
        newest_us = ahead[-1].prediction.window.start_us if ahead else self.last_final_us(window.session)
        if newest_us is not None and window.start_us <= newest_us:
            return ()
        for earlier in ahead:
            if earlier.prediction.window.end_us > window.start_us:
                earlier.revise(predicted)
        ahead.append(EarlyPrediction(predicted))
        del ahead[:-EARLY_MAX]
        said = self._said.setdefault(window.session, {})
        news = [e for e in self._folded(window.session, ahead) if said.get((e.id, e.label)) is None]
        said |= {(e.id, e.label): e.start_us for e in news}
        for old in [key for key, start_us in said.items() if start_us < window.start_us - PUBLISHED_US]:
            del said[old]
        return tuple(replace(e, prediction=predicted.id) for e in news)

    def _folded(self, session: str, ahead: Sequence[EarlyPrediction]) -> list[Event]:
        """What the fold begins and changes on the early answers from the last final state on."""
        state = self.states.get(session)
        out: list[Event] = []
        for early in ahead:
            seen = replace(detector_input(early.prediction), top=early.top)
            # Early windows name the last final one as their predecessor; in the guess they follow each other.
            if state is not None and seen.start_us - state.last_us <= self.detector.gap_us:
                seen = replace(seen, previous_us=state.last_us)
            state, events = detect(state, seen, self._early, final=False)
            out += [e for e in events if e.lifecycle != "end"]
        return out
