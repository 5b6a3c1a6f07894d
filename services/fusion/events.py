"""Chains: the folds of the sessions that a worker serves, final and provisional."""

from __future__ import annotations

from collections import OrderedDict

from services.contract import prediction
from services.contract.event import Event
from services.fusion.decide import Decision, Seen, State, fold
from services.fusion.predicted import Predicted

SESSIONS_MAX = 100_000


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


class Chains:
    """The state of each session after its last final prediction, and a guess that runs ahead of it on early ones.

    The guess is the same fold over the early answers since then; it changes no state, and what it begins is published
    as provisional at once. The final fold confirms it under the same id, or it expires. `forgot` is set once there were
    more sessions than are kept: those heard longest ago are then only in the predictions topic.
    """

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.states: OrderedDict[str, State] = OrderedDict()
        self.forgot = False
        self._guesses: dict[str, State] = {}
        self._said: dict[str, tuple[str, str]] = {}

    def last_us(self, session: str) -> int | None:
        """The start of a session's last final window, None where none is known."""
        state = self.states.get(session)
        return None if state is None else state.last_us

    def take(self, predicted: Predicted) -> tuple[Event, ...]:
        """The events that a prediction leads to; a final one moves the state on."""
        session = predicted.window.session
        if predicted.answer.label is None:
            return ()
        if not predicted.window.final:
            return self._guess(predicted)
        state, events = fold(self.states.get(session), seen_of(predicted), self.decision)
        self.states[session] = state
        self.states.move_to_end(session)
        while len(self.states) > SESSIONS_MAX:
            oldest, _ = self.states.popitem(last=False)
            self.forgot = True
            self._guesses.pop(oldest, None)
            self._said.pop(oldest, None)
        return events

    def _guess(self, predicted: Predicted) -> tuple[Event, ...]:
        session, seen = predicted.window.session, seen_of(predicted)
        guess = self._guesses.get(session)
        if guess is not None and seen.start_us <= guess.last_us:
            return ()
        # Early windows name the last final one as their predecessor; in the guess they follow each other.
        if guess is not None and seen.start_us - guess.last_us <= self.decision.gap_us:
            seen = Seen(seen.prediction, session, seen.start_us, seen.end_us, guess.last_us, seen.top)
        guess, events = fold(guess, seen, self.decision, final=False)
        self._guesses[session] = guess
        news = [e for e in events if e.lifecycle != "end" and self._said.get(session) != (e.id, e.label)]
        for event in news:
            self._said[session] = event.id, event.label
        return tuple(news)
