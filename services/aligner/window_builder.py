"""Builds the record of a window: members in order, and the state of each modality with its evidence."""

from __future__ import annotations

from services.aligner.panes import WindowChunks, collect_members
from services.aligner.session import Session, WatermarkStep
from services.contract.alignment_config import AlignmentConfig
from services.contract.session_reset import split_generation_id
from services.contract.window import Window, WindowMembers


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
    name, generation = split_generation_id(session.name)
    previous_us = last_emitted_us
    if previous_us is not None and start_us - previous_us > config.event_gap_us:
        previous_us = None
    end_us = start_us + config.size_us
    streams, modalities = session.streams, {}
    opened_us, closed_us = [], []
    for m, stream in streams.items():
        arrived = collect_members(stream.panes.values(), start_us, end_us) if stream.panes else None
        if arrived is not None:
            opened_us.append(arrived.opened_us)
        if m not in session.modalities:
            modalities[m] = WindowMembers("absent", "config", None, ())
            continue
        step = stream.step_reaching(start_us + stream.close_after_us)
        modalities[m] = _members(step, arrived)
        if step is not None and final:
            closed_us.append(step.appended_us)
    if not final:
        closed_us = [stream.steps[-1].appended_us for stream in streams.values() if stream.steps]
    return Window(
        session=name,
        start_us=start_us,
        end_us=end_us,
        previous_us=previous_us,
        final=final,
        config=digest,
        modalities=modalities,
        opened_us=min(opened_us),
        closed_us=max(closed_us),
        generation=generation,
    )


def _members(step: WatermarkStep | None, arrived: WindowChunks | None) -> WindowMembers:
    evidence, watermark_us = (step.evidence, step.watermark_us) if step else (None, None)
    if arrived is None:
        return WindowMembers("absent" if evidence in ("data", "end") else "unknown", evidence, watermark_us, ())
    if arrived.members[0].alive and all(member.alive for member in arrived.members):
        members = WindowMembers("absent", "alive", watermark_us, arrived.members)
    else:
        members = WindowMembers("present", evidence, watermark_us, arrived.members)
    members.texts = arrived.texts
    return members
