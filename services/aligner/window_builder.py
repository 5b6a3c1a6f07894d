"""A window's record as it goes out: members in order, and for each modality what is known of it and why."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, lt

from services.aligner.session import Raise, Session
from services.contract.alignment_config import Semantics
from services.contract.window import Lane, Member, Window

_in_order = attrgetter("t_us", "source", "id")


def record(
    session: Session, start_us: int, frontier_us: int | None, semantics: Semantics, config: str, *, final: bool
) -> Window:
    """The window that starts there. Of an early answer only what is known now; a final one has closed in every lane.

    frontier_us: the start of the session's last window that went out.
    """
    window = session.windows[start_us]
    previous_us = frontier_us
    if previous_us is not None and start_us - previous_us > semantics.event_gap_us:
        previous_us = None
    steps = {m: session.lanes[m].crossing(semantics.close_us(start_us, m)) for m in session.declared}
    latest = (lane.raises[-1] for lane in session.lanes.values() if lane.raises)
    times = [step.appended_us for step in steps.values() if step] if final else [r.appended_us for r in latest]
    return Window(
        session=session.name,
        start_us=start_us,
        end_us=start_us + semantics.size_us,
        previous_us=previous_us,
        final=final,
        config=config,
        modalities={m: _lane(m in session.declared, steps.get(m), window.members.get(m, ())) for m in semantics.lanes},
        opened_us=window.opened_us,
        closed_us=max(times),
    )


def _rises(found: Sequence[Member]) -> bool:
    """True for members of rising event times, which need no sorting: nearly all come in that order."""
    times = [member.t_us for member in found]
    return all(map(lt, times, times[1:]))


def _lane(declared: bool, step: Raise | None, found: Sequence[Member]) -> Lane:
    if not declared:
        return Lane("absent", "config", None, ())
    members = tuple(found) if _rises(found) else tuple(sorted(found, key=_in_order))
    evidence, bound_us = (step.evidence, step.bound_us) if step else (None, None)
    if any(not member.alive for member in members):
        return Lane("present", evidence, bound_us, members)
    if members:
        return Lane("absent", "alive", bound_us, members)
    return Lane("absent" if evidence in ("data", "end") else "unknown", evidence, bound_us, ())
