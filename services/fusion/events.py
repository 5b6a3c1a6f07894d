"""Chains: the folds of the sessions that a worker serves, final and provisional."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from services.contract import prediction
from services.contract.event import Event
from services.fusion.ahead import Ahead
from services.fusion.decide import Decision, Seen, State, fold
from services.fusion.overload import EARLY
from services.fusion.predicted import Predicted

SESSIONS_MAX = 100_000
# Early answers of a session kept for its guess, and how long it is remembered what was guessed.
AHEAD_MAX, SAID_US = 64, 60_000_000


def seen_of(predicted: Predicted) -> Seen:
    """What the fold sees of a prediction: what its record carries, rounded as there."""
    window, answer = predicted.window, predicted.answer
    digits = prediction.DIGITS
    return Seen(
        prediction=predicted.id,
        session=window.session,
        start_us=window.start_us,
        end_us=window.end_us,
        previous_us=window.previous_us,
        top=tuple((label, round(p, digits) + 0.0) for label, p in answer.top),
    )


def folds(predicted: Predicted) -> bool:
    """Whether the fold takes a prediction: not one without an answer, nor one for which a part of the window was left out."""
    return predicted.answer.label is not None and predicted.level <= EARLY


class Chains:
    """The state of each session after its last final prediction, and a guess that runs ahead of it on early ones.

    The guess is the same fold over the early answers since then, from that very state; it changes no state, and what it
    begins or changes is published as provisional at once. The final fold confirms it under the same id, or it expires.
    `forgot` is set once there were more sessions than are kept: those heard longest ago are then only in the
    predictions topic.
    """

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.states: OrderedDict[str, State] = OrderedDict()
        self.forgot = False
        self._early = replace(decision, on=max(decision.on, decision.early_on))
        self._ahead: dict[str, list[Ahead]] = {}
        self._said: dict[str, dict[tuple[str, str], int]] = {}

    def last_us(self, session: str) -> int | None:
        """The start of a session's last final window, None where none is known."""
        state = self.states.get(session)
        return None if state is None else state.last_us

    def take(self, predicted: Predicted) -> tuple[Event, ...]:
        """The events that a prediction leads to; a final one moves the state on."""
        session = predicted.window.session
        if not folds(predicted):
            return ()
        if not predicted.window.final:
            return self._guess(predicted)
        state, events = fold(self.states.get(session), seen_of(predicted), self.decision)
        self.states[session] = state
        self.states.move_to_end(session)
        self._ahead[session] = [a for a in self._ahead.get(session, ()) if a.predicted.window.start_us > state.last_us]
        while len(self.states) > SESSIONS_MAX:
            oldest, _ = self.states.popitem(last=False)
            self.forgot = True
            self._ahead.pop(oldest, None)
            self._said.pop(oldest, None)
        return events

    def _guess(self, predicted: Predicted) -> tuple[Event, ...]:
        window = predicted.window
        ahead = self._ahead.setdefault(window.session, [])
        newest_us = ahead[-1].predicted.window.start_us if ahead else self.last_us(window.session)
        if newest_us is not None and window.start_us <= newest_us:
            return ()
        for earlier in ahead:
            if earlier.predicted.window.end_us > window.start_us:
                earlier.make_good(predicted)
        ahead.append(Ahead(predicted))
        del ahead[:-AHEAD_MAX]
        said = self._said.setdefault(window.session, {})
        news = [e for e in self._folded(window.session, ahead) if said.get((e.id, e.label)) is None]
        said |= {(e.id, e.label): e.start_us for e in news}
        for old in [key for key, start_us in said.items() if start_us < window.start_us - SAID_US]:
            del said[old]
        return tuple(replace(e, prediction=predicted.id) for e in news)

    def _folded(self, session: str, ahead: Sequence[Ahead]) -> list[Event]:
        """What the fold begins and changes on the early answers from the last final state on."""
        state = self.states.get(session)
        out: list[Event] = []
        for early in ahead:
            seen = replace(seen_of(early.predicted), top=early.top)
            # Early windows name the last final one as their predecessor; in the guess they follow each other.
            if state is not None and seen.start_us - state.last_us <= self.decision.gap_us:
                seen = replace(seen, previous_us=state.last_us)
            state, events = fold(state, seen, self._early, final=False)
            out += [e for e in events if e.lifecycle != "end"]
        return out
