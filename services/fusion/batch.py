"""Which windows of what is queued are worth an answer, and in which batches. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from services.contract.window import Window

EARLY_BACKLOG_MAX = 64


def worth_answering(windows: Sequence[Window], last_final_us: Callable[[str], int | None]) -> list[bool]:
    """True for each window to answer, in order: final ones that were not answered yet, and early ones that still help.

    An early answer is dropped where a final one of its session at or after it is there already, in the state or in
    this very batch; and, under overload, where it stands too far back in the queue (level 1: final windows lag, they
    are never lost).
    """
    newest: dict[str, int] = {}
    keep = [False] * len(windows)
    for place in range(len(windows) - 1, -1, -1):
        window = windows[place]
        last_us = last_final_us(window.session)
        if window.final:
            newest[window.session] = max(window.start_us, newest.get(window.session, window.start_us))
            keep[place] = last_us is None or window.start_us > last_us
        else:
            done_us = max((us for us in (last_us, newest.get(window.session)) if us is not None), default=None)
            in_time = len(windows) - place <= EARLY_BACKLOG_MAX
            keep[place] = in_time and (done_us is None or window.start_us > done_us)
    return keep


def batches(windows: Sequence[Window], size: int) -> Iterator[tuple[Sequence[Window], str]]:
    """Windows in batches of at most `size`, in order, each with why it is released: full, or nothing more queued."""
    for at in range(0, len(windows), size):
        part = windows[at : at + size]
        yield part, "full" if len(part) == size else "idle"
