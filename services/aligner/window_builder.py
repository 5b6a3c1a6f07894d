"""A window's record as it goes out: members in order, and for each modality what is known of it and why."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, lt

from services.aligner.session import Session, WatermarkStep
from services.contract.alignment_config import AlignmentConfig
from services.contract.window import Member, Window, WindowMembers

_in_order = attrgetter("t_us", "source", "id")


def build_window(
    session: Session, start_us: int, frontier_us: int | None, semantics: AlignmentConfig, config: str, *, final: bool
) -> Window:
    """The window that starts there. Of an early answer only what is known now; a final one has closed in every lane.

    frontier_us: the start of the session's last window that went out.
    """
    window = session.windows[start_us]
    previous_us = frontier_us
    if previous_us is not None and start_us - previous_us > semantics.event_gap_us:
        previous_us = None
    steps = {
        m: session.streams[m].step_reaching(semantics.closing_watermark_us(start_us, m)) for m in session.modalities
    }
    latest = (lane.steps[-1] for lane in session.streams.values() if lane.steps)
    times = [step.appended_us for step in steps.values() if step] if final else [r.appended_us for r in latest]
    return Window(
        session=session.name,
        start_us=start_us,
        end_us=start_us + semantics.size_us,
        previous_us=previous_us,
        final=final,
        config=config,
        modalities={
            m: _lane(m in session.modalities, steps.get(m), window.members.get(m, ())) for m in semantics.streams
        },
        opened_us=window.opened_us,
        closed_us=max(times),
    )


def _rises(found: Sequence[Member]) -> bool:
    """True for members of rising event times, which need no sorting: nearly all come in that order."""
    times = [member.t_us for member in found]
    return all(map(lt, times, times[1:]))


def _lane(declared: bool, step: WatermarkStep | None, found: Sequence[Member]) -> WindowMembers:
    if not declared:
        return WindowMembers("absent", "config", None, ())
    members = tuple(found) if _rises(found) else tuple(sorted(found, key=_in_order))
    evidence, bound_us = (step.evidence, step.watermark_us) if step else (None, None)
    if any(not member.alive for member in members):
        return WindowMembers("present", evidence, bound_us, members)
    if members:
        return WindowMembers("absent", "alive", bound_us, members)
    return WindowMembers("absent" if evidence in ("data", "end") else "unknown", evidence, bound_us, ())
