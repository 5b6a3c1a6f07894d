"""Which windows of what is queued are worth an answer, and in which batches. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from services.contract.window import Window

EARLY_BACKLOG_MAX = 64


def worth_answering(windows: Sequence[Window], last_final_us: Callable[[str], int | None]) -> list[bool]:
    """True for each window to answer, in order: final ones that were not answered yet, and early ones that still help.

    A final one may come again, even in this very batch (a former aligner that lives on writes copies): a copy is not
    answered, it would break the chain of its session. An early answer is dropped where a final one of its session at
    or after it is there already, before it or behind it; and, under overload, where it stands too far back in the
    queue (level 1: final windows lag, they are never lost).
    """
    newest: dict[str, int] = {}
    for window in windows:
        if window.final:
            newest[window.session] = max(window.start_us, newest.get(window.session, window.start_us))
    answered: dict[str, int] = {}
    keep = []
    for place, window in enumerate(windows):
        session, start_us = window.session, window.start_us
        last_us = answered.get(session, last_final_us(session))
        fresh = last_us is None or start_us > last_us
        if window.final:
            keep.append(fresh)
            if fresh:
                answered[session] = start_us
        else:
            in_time = len(windows) - place <= EARLY_BACKLOG_MAX
            keep.append(fresh and in_time and start_us > newest.get(session, start_us - 1))
    return keep


def batches(windows: Sequence[Window], size: int) -> Iterator[tuple[Sequence[Window], str]]:
    """Windows in batches of at most `size`, in order, each with why it is released: full, or nothing more queued."""
    for at in range(0, len(windows), size):
        part = windows[at : at + size]
        yield part, "full" if len(part) == size else "idle"
