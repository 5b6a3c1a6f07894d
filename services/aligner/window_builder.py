"""Builds the record of a window: members in order, and the state of each modality with its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter, lt

from services.aligner.session import Session, WatermarkStep
from services.contract.alignment_config import AlignmentConfig
from services.contract.session_reset import split_generation_id
from services.contract.window import Member, Window, WindowMembers

_order = attrgetter("t_us", "source", "id")


def build_window(
    session: Session, start_us: int, last_emitted_us: int | None, config: AlignmentConfig, digest: str, *, final: bool
) -> Window:
    """Build the window that starts at `start_us`: a final one is closed for every stream, an early one may not be.

    Args:
        session: The session, with the window still open.
        start_us: Start of the window.
        last_emitted_us: Start of the last emitted window of this generation.
        config: The alignment settings.
        digest: Their digest.
        final: False for an early window.
    """
    window = session.windows[start_us]
    name, generation = split_generation_id(session.name)
    previous_us = last_emitted_us
    if previous_us is not None and start_us - previous_us > config.event_gap_us:
        previous_us = None
    steps = {m: session.streams[m].step_reaching(config.closing_watermark_us(start_us, m)) for m in session.modalities}
    latest = (stream.steps[-1] for stream in session.streams.values() if stream.steps)
    times = [step.appended_us for step in steps.values() if step] if final else [step.appended_us for step in latest]
    return Window(
        session=name,
        start_us=start_us,
        end_us=start_us + config.size_us,
        previous_us=previous_us,
        final=final,
        config=digest,
        modalities={
            m: _members(m in session.modalities, steps.get(m), window.members.get(m, ())) for m in config.streams
        },
        opened_us=window.opened_us,
        closed_us=max(times),
        generation=generation,
    )


def _is_sorted(members: Sequence[Member]) -> bool:
    """Return whether event times rise strictly; nearly all members arrive so and need no sorting."""
    times = [member.t_us for member in members]
    return all(map(lt, times, times[1:]))


def _members(declared: bool, step: WatermarkStep | None, arrived: Sequence[Member]) -> WindowMembers:
    if not declared:
        return WindowMembers("absent", "config", None, ())
    members = tuple(arrived) if _is_sorted(arrived) else tuple(sorted(arrived, key=_order))
    evidence, watermark_us = (step.evidence, step.watermark_us) if step else (None, None)
    if any(not member.alive for member in members):
        return WindowMembers("present", evidence, watermark_us, members)
    if members:
        return WindowMembers("absent", "alive", watermark_us, members)
    return WindowMembers("absent" if evidence in ("data", "end") else "unknown", evidence, watermark_us, ())
