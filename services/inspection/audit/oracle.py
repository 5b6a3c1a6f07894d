"""The oracle: every fate and every window from the logs alone, in the plainest way.

First each log by itself (watermarks, fates, members), then the join. No state is ever dropped and nothing is
incremental: slow, and easy to check against the rules. Imports the contract only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple

from services.contract.alignment_config import AlignmentConfig, member_bytes
from services.contract.chunk import Chunk
from services.contract.quotas import COUNTED_SOURCES_MAX
from services.contract.session_reset import CLOSED_US, SessionReset, generation_id, split_generation_id
from services.contract.tick import Tick
from services.contract.window import Member, Window, WindowMembers


class LogEntry(NamedTuple):
    """A record of a media log; without content if it was rejected at admission or ends a source."""

    offset: int
    appended_us: int
    content: Chunk | Tick | SessionReset | None


class WatermarkStep(NamedTuple):
    """A record that raised a watermark."""

    bound_us: int
    appended_us: int
    evidence: str


@dataclass(slots=True)
class LogReading:
    """What one whole log says; sessions are named by generation id."""

    steps: dict[str, list[WatermarkStep]] = field(default_factory=lambda: defaultdict(list))
    members: dict[tuple[str, int], list[Chunk]] = field(default_factory=lambda: defaultdict(list))
    fates: dict[int, str] = field(default_factory=dict)
    counted: dict[tuple[str, int], list[Chunk]] = field(default_factory=lambda: defaultdict(list))

    def bound_us(self, session: str) -> int | None:
        """Return a session's watermark (us), None if nothing raised it."""
        return self.steps[session][-1].bound_us if self.steps[session] else None


@dataclass(frozen=True, slots=True)
class OracleVerdict:
    """Final windows by (generation id, start), windows still open, and the fate at each (modality, offset)."""

    windows: dict[tuple[str, int], Window]
    open: set[tuple[str, int]]
    fates: dict[tuple[str, int], str]


def generations_of(logs: Mapping[str, Sequence[LogEntry]]) -> dict[str, list[int]]:
    """Return the generations of each session that was reset, rising, from 0 on."""
    found: dict[str, set[int]] = defaultdict(lambda: {0})
    for log in logs.values():
        for entry in log:
            if isinstance(entry.content, SessionReset):
                found[entry.content.session].add(entry.content.generation)
    return {session: sorted(numbers) for session, numbers in found.items()}


def read_log(
    modality: str, log: Sequence[LogEntry], semantics: AlignmentConfig, generations: Mapping[str, Sequence[int]]
) -> LogReading:
    """Return what one log decides without the others: windowed, late, duplicate, conflict, quota or limit for each record.

    generations: The generations of each session that was reset, in any log.
    """
    reading = LogReading()
    current: dict[str, int] = {}
    known: dict[tuple[str, object], tuple[str | None, int]] = {}
    over_sessions = _over_sessions(log, semantics)
    for offset, appended_us, holds in log:
        if holds is None:
            continue
        if isinstance(holds, Tick):
            for session, to_us in holds.bounds.items():
                bound_us = reading.bound_us(session)
                if bound_us is None or to_us > bound_us:
                    reading.steps[session].append(WatermarkStep(to_us, appended_us, holds.evidence))
            continue
        if isinstance(holds, SessionReset):
            if holds.generation > current.get(holds.session, 0):
                current[holds.session] = holds.generation
                for older in (n for n in generations[holds.session] if n < holds.generation):
                    id = generation_id(holds.session, older)
                    if (reading.bound_us(id) or 0) < CLOSED_US:
                        reading.steps[id].append(WatermarkStep(CLOSED_US, appended_us, "tick"))
            continue
        if offset in over_sessions:
            reading.fates[offset] = "quota"
            continue
        session = generation_id(holds.session, current.get(holds.session, 0))
        bound_us = reading.bound_us(session)

        def closed(start_us: int, bound_us: int | None = bound_us) -> bool:
            return bound_us is not None and bound_us >= semantics.closing_watermark_us(start_us, modality)

        still_open = [w for w in semantics.window_starts(holds.t_us, holds.duration_us) if not closed(w)]
        sha256, last = known.get((session, holds.identity), (None, 0))
        if not still_open:
            reading.fates[offset] = "late"
            continue
        if sha256 is not None and not closed(last):
            reading.fates[offset] = "duplicate" if sha256 == holds.sha256 else "conflict"
            continue
        last_start_us = semantics.window_starts(holds.t_us, holds.duration_us)[-1]
        if _over_quota(reading.counted[session, last_start_us], holds, semantics):
            reading.fates[offset] = "quota"
            continue
        room = [w for w in still_open if _has_room(reading.members[session, w], holds, semantics)]
        for start_us in room:
            reading.members[session, start_us].append(holds)
        if room:
            known[session, holds.identity] = (holds.sha256, room[-1])
            if room[-1] == last_start_us:
                reading.counted[session, last_start_us].append(holds)
        reading.fates[offset] = "windowed" if room else "limit"
        to_us = holds.t_us + (holds.duration_us if semantics.streams[modality].gapless else 0)
        if semantics.lead_us is not None:
            to_us = min(to_us, appended_us + semantics.lead_us)
        if bound_us is None or to_us > bound_us:
            reading.steps[session].append(WatermarkStep(to_us, appended_us, "data"))
    return reading


def _over_sessions(log: Sequence[LogEntry], semantics: AlignmentConfig) -> set[int]:
    """Return the offsets of chunks whose source sends to too many sessions within one period of append time."""
    sessions_max = None if semantics.quotas is None else semantics.quotas.source_sessions_max
    if sessions_max is None:
        return set()
    over: set[int] = set()
    for _, period in groupby(log, lambda entry: entry.appended_us // semantics.quota_period_us):
        sessions_of: dict[str, set[str]] = {}
        for entry in period:
            chunk = entry.content
            if not isinstance(chunk, Chunk):
                continue
            if chunk.source not in sessions_of and len(sessions_of) == COUNTED_SOURCES_MAX:
                continue
            sessions = sessions_of.setdefault(chunk.source, set())
            if chunk.session not in sessions and len(sessions) == sessions_max:
                over.add(entry.offset)
            else:
                sessions.add(chunk.session)
    return over


def _has_room(members: Sequence[Chunk], chunk: Chunk, semantics: AlignmentConfig) -> bool:
    if len(members) >= semantics.members_max:
        return False
    if semantics.members_bytes_max is None:
        return True
    share = semantics.members_bytes_max // semantics.members_max
    used = sum(max(member_bytes(member.source, member.id), share) for member in (*members, chunk))
    return used <= semantics.members_bytes_max


def _over_quota(counted: Sequence[Chunk], chunk: Chunk, semantics: AlignmentConfig) -> bool:
    """Return whether a chunk is over a quota, given the chunks that count in its last window."""
    quotas, per_hop = semantics.quotas, semantics.per_hop
    if quotas is None or not counted:
        return False
    own = [c for c in counted if c.source == chunk.source]
    if not own and len({c.source for c in counted}) >= quotas.session_sources_max:
        return True
    if len(own) >= per_hop(quotas.source_records_per_s):
        return True
    for chunks, bytes_max, pixels_max in (
        (own, per_hop(quotas.source_bytes_per_s), per_hop(quotas.source_pixels_per_s)),
        (counted, per_hop(quotas.session_bytes_per_s), per_hop(quotas.session_pixels_per_s)),
    ):
        pixels = sum(c.decode_pixels for c in chunks)
        if chunks and sum(c.payload_bytes for c in chunks) + chunk.payload_bytes > bytes_max:
            return True
        if pixels and chunk.decode_pixels and pixels + chunk.decode_pixels > pixels_max:
            return True
    return False


def judge_logs(logs: Mapping[str, Sequence[LogEntry]], semantics: AlignmentConfig) -> OracleVerdict:
    """Return the windows and fates of all media logs of one partition."""
    generations = generations_of(logs)
    readings = {m: read_log(m, logs.get(m, ()), semantics, generations) for m in semantics.modalities}
    fates = {(m, offset): fate for m, reading in readings.items() for offset, fate in reading.fates.items()}
    starts = sorted({key for reading in readings.values() for key, chunks in reading.members.items() if chunks})
    windows: dict[tuple[str, int], Window] = {}
    still_open: set[tuple[str, int]] = set()
    previous: dict[str, int] = {}
    for session, start_us in starts:
        name, generation = split_generation_id(session)
        declared = semantics.modalities_of(name)
        closing: dict[str, WatermarkStep] = {}
        for modality in declared:
            close_us = semantics.closing_watermark_us(start_us, modality)
            step = next((s for s in readings[modality].steps[session] if s.bound_us >= close_us), None)
            if step is not None:
                closing[modality] = step
        if len(closing) < len(declared):
            still_open.add((session, start_us))
            continue
        chunks = {m: readings[m].members.get((session, start_us), []) for m in semantics.modalities}
        before_us = previous.get(session)
        windows[session, start_us] = Window(
            session=name,
            start_us=start_us,
            end_us=start_us + semantics.size_us,
            previous_us=None if before_us is None or start_us - before_us > semantics.event_gap_us else before_us,
            final=True,
            config=semantics.digest,
            modalities={m: _lane(closing.get(m), chunks[m]) for m in semantics.modalities},
            opened_us=min(chunk.appended_us for found in chunks.values() for chunk in found),
            closed_us=max(step.appended_us for step in closing.values()),
            generation=generation,
        )
        previous[session] = start_us
    return OracleVerdict(windows, still_open, fates)


def _lane(step: WatermarkStep | None, chunks: Sequence[Chunk]) -> WindowMembers:
    if step is None:
        return WindowMembers("absent", "config", None, ())
    in_order = sorted(chunks, key=lambda c: (c.t_us, c.source, c.id))
    members = tuple(Member(c.source, c.id, c.t_us, c.duration_us, c.sha256, c.partition, c.offset) for c in in_order)
    if any(not member.alive for member in members):
        return WindowMembers("present", step.evidence, step.bound_us, members)
    if members:
        return WindowMembers("absent", "alive", step.bound_us, members)
    return WindowMembers("unknown" if step.evidence == "tick" else "absent", step.evidence, step.bound_us, ())
