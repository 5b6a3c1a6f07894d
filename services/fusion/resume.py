"""Resuming: what the folds must know before they go on, from the predictions topic alone. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from services.contract import canonical
from services.contract.prediction import STATE_HEADER
from services.contract.window import Window
from services.fusion.decide import State

UNREAD_US = 1 << 62


def state_of(headers: Sequence[tuple[str, bytes]], value: bytes | None, model_digest: str) -> State | None:
    """The state after a final prediction of our own model, None for any other record.

    Raises canonical.NotJson, KeyError, TypeError or ValueError for what is no prediction record.
    """
    raw = next((found for name, found in headers if name == STATE_HEADER), None)
    if raw is None or value is None:
        return None
    digest = canonical.loads_object(value)["model"]["digest"]
    return State.decode(raw) if digest == model_digest else None


def newest(states: dict[str, State], session: str, state: State) -> None:
    """Keep the state that went furthest; a former worker that lives on may publish an older one after it."""
    known = states.get(session)
    if known is None or state.last_us >= known.last_us:
        states[session] = state


def look_back_us(
    windows: Iterable[Window], states: Mapping[str, State], read_since_us: int, future_us: int
) -> int | None:
    """From which broker time on the predictions must be read before these windows are folded; None: enough is known.

    A window's predecessor was predicted after its members were appended, and no member is appended more than
    `future_us` before its own time (admission refuses it): so that is how far back its state can stand, however long
    anything was down since then.
    """
    reached: dict[str, int] = {}
    since_us: int | None = None
    for window in windows:
        state = states.get(window.session)
        last_us = reached.get(window.session, -UNREAD_US if state is None else state.last_us)
        if not window.final or window.start_us <= last_us:
            continue
        previous_us = window.previous_us
        if previous_us is not None and last_us != previous_us:
            could_be_us = previous_us - future_us - 1
            if could_be_us < read_since_us and (since_us is None or could_be_us < since_us):
                since_us = could_be_us
        reached[window.session] = window.start_us
    return since_us
