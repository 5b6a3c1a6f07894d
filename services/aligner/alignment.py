"""Alignment of one partition number: what a window contains is a function of the media logs alone.

Pure: no clock, no I/O, no logging, no randomness. Times are integer microseconds; receive times are on the caller's
monotonic clock and decide nothing here (services/aligner/idleness.py reads them).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from services.aligner.session import NEVER_US, OpenWindow, Session, Stream, WatermarkStep
from services.aligner.window_builder import build_window
from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import Chunk, SessionEnd
from services.contract.dead_letter import Reason, Rejected
from services.contract.tick import Tick
from services.contract.window import Member, Window


class RetainedOffsets:
    """Offsets of one log that open windows or ticks still need; offsets come in rising order.

    The floor is the smallest held offset, so that a commit never skips one: Faust's own rule acknowledges past a gap.
    """

    __slots__ = ("_order", "_uses")

    def __init__(self) -> None:
        self._order: deque[tuple[int, int]] = deque()
        self._uses: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._uses)

    def retain(self, offset: int, appended_us: int) -> None:
        """Need an offset once more; each need is released on its own."""
        if offset not in self._uses:
            self._order.append((offset, appended_us))
            self._uses[offset] = 0
        self._uses[offset] += 1

    def release(self, offset: int) -> None:
        """Take one need back. Raises KeyError for an offset that is not held."""
        self._uses[offset] -= 1
        if not self._uses[offset]:
            del self._uses[offset]

    def first(self) -> tuple[int, int] | None:
        """(offset, append time in us) of the smallest held offset, None where nothing is held."""
        while self._order and self._order[0][0] not in self._uses:
            self._order.popleft()
        return self._order[0] if self._order else None

    def commit_offset(self, position: int) -> int:
        """Where a restart must begin to read; `position` is the next offset that was not handed over yet."""
        first = self.first()
        return position if first is None else first[0]


@dataclass(frozen=True, slots=True)
class Windowed:
    """The chunk stands in at least one open window."""


WINDOWED = Windowed()


@dataclass(frozen=True, slots=True)
class Late:
    """Every window of the chunk was closed for its modality: their starts, and how far the bound was past the last."""

    missed_us: tuple[int, ...]
    behind_us: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A copy of a chunk that is still known, with the same bytes."""


Fate = Windowed | Late | Duplicate | Rejected


def fate_name(fate: Fate) -> str:
    """windowed, late, duplicate, or the code of the reason for a refusal."""
    return fate.reason.value if isinstance(fate, Rejected) else type(fate).__name__.lower()


class Aligner:
    """The aligner of one partition number; its state comes from the logs and the frontiers that it starts with."""

    def __init__(self, semantics: AlignmentConfig, frontiers: Mapping[str, int]) -> None:
        self.semantics = semantics
        self.config_digest = semantics.digest
        self.last_emitted_us = dict(frontiers)
        self.sessions: dict[str, Session] = {}
        # Counted along: whoever asks after each batch must not walk over all sessions.
        self.windows_open = 0
        self._oldest = [(start_us, name) for name, start_us in frontiers.items()]
        heapify(self._oldest)
        self._ticked: set[str] = set()
        self._beyond_us = {modality: semantics.closing_watermark_us(0, modality) for modality in semantics.modalities}
        self.retained = {modality: RetainedOffsets() for modality in semantics.modalities}

    def add_chunk(self, chunk: Chunk, handed_us: int) -> tuple[Fate, list[Window]]:
        """Take one chunk: its fate, and the windows that it let out in order of start."""
        name, modality, source, id, t_us, duration_us, sha256, partition, offset, appended_us = chunk
        session, config = self._session(name, handed_us), self.semantics
        lane = session.streams[modality]
        lane.sources.add(source)
        lane.ended.discard(source)
        windows = config.window_starts(t_us, duration_us)
        closed_us = self._closed_us(session, lane, modality)
        closed = (closed_us - windows.start) // windows.step + 1 if windows.start <= closed_us else 0
        open_for_it = windows[closed:] if closed else windows
        if not open_for_it:
            self._drop_if_empty(session)
            # Where windows are further apart than they are long, a chunk may belong to none at all.
            behind_us = max(lane.watermark_us - config.closing_watermark_us(windows[-1], modality), 0) if windows else 0
            return Late(tuple(windows), behind_us), []
        identity = chunk.identity
        if identity in lane.known:
            if lane.known[identity] == sha256:
                return Duplicate(), []
            return Rejected(Reason.CONFLICT, "this source sent other bytes under the same id and time"), []
        member = Member(source, id, t_us, duration_us, sha256, partition, offset)
        last = self._enter(session, modality, member, appended_us, open_for_it)
        if last is not None:
            lane.remember(identity, sha256, last)
        # A chunk refused for `limit` raises the bound too: after a crash some of its windows may be out already, and
        # whether it had found room in one of them can then not be known, while the bound must come out the same.
        reach_us = t_us + (duration_us if config.streams[modality].gapless else 0)
        out: list[Window] = []
        if reach_us > lane.watermark_us:
            session.last_data_mono_us = handed_us
            self._raise(lane, modality, WatermarkStep(reach_us, appended_us, "data", handed_us))
            out = self._close(session)
        if last is None:
            return Rejected(Reason.LIMIT, f"{config.members_max} members in each window"), out
        return WINDOWED, out

    def apply_tick(self, modality: str, tick: Tick, offset: int, appended_us: int, handed_us: int) -> list[Window]:
        """Take the bounds of a tick: the windows that they let out, session by session, in order of start."""
        out: list[Window] = []
        for name in sorted(tick.bounds):
            bound_us = tick.bounds[name]
            session = self._session(name, handed_us)
            lane = session.streams[modality]
            if bound_us > lane.watermark_us:
                self._raise(lane, modality, WatermarkStep(bound_us, appended_us, tick.evidence, handed_us))
                hop_us = self.semantics.hop_us
                reach_us = (bound_us - self._beyond_us[modality]) // hop_us * hop_us
                # Held even where no window is open yet: the chunk that opens one may stand in a log we are behind in.
                if reach_us > self.last_emitted_us.get(name, NEVER_US):
                    lane.ticks.append((reach_us, offset))
                    self.retained[modality].retain(offset, appended_us)
                out += self._close(session)
            self._drop_if_empty(session)
        return out

    def end_source(self, modality: str, end: SessionEnd) -> None:
        """Note that a source has ended; it raises nothing (the tick that follows does)."""
        session = self.sessions.get(end.session)
        if session is not None:
            session.streams[modality].ended.add(end.source)

    def early_window(self, session: Session, start_us: int) -> Window:
        """The early answer of an open window, as far as it is known now."""
        session.windows[start_us].early_emitted = True
        return self._record(session, start_us, final=False)

    def forget_before(self, since_us: int) -> list[str]:
        """Let go of ticks and frontiers that nothing appended from since_us on can meet; the sessions forgotten.

        since_us: the smallest broker time of the records that a restart would read. All that these frontiers would
        refuse is stale then, and no window can come that would name theirs as its predecessor.
        """
        s = self.semantics
        before_us = since_us - s.stale_after_us - s.size_us - s.event_gap_us
        for name in sorted(self._ticked):
            session = self.sessions.get(name)
            if session is not None:
                self._release_ticks(session, before_us)
                self._drop_if_empty(session)
            if name not in self.sessions:
                self._ticked.discard(name)
        gone: list[str] = []
        going_on: list[tuple[int, str]] = []
        while self._oldest and self._oldest[0][0] < before_us:
            name = heappop(self._oldest)[1]
            if name in self.sessions or self.last_emitted_us[name] >= before_us:
                going_on.append((self.last_emitted_us[name], name))
            else:
                del self.last_emitted_us[name]
                gone.append(name)
        for entry in going_on:
            heappush(self._oldest, entry)
        return gone

    def commit_offset(self, modality: str, position: int) -> int:
        """Where a restart must begin to read the log of a modality."""
        return self.retained[modality].commit_offset(position)

    def _session(self, name: str, handed_us: int) -> Session:
        session = self.sessions.get(name)
        if session is None:
            lanes = {modality: Stream() for modality in self.semantics.modalities}
            session = self.sessions[name] = Session(name, self.semantics.modalities_of(name), lanes, handed_us)
        return session

    def _closed_us(self, session: Session, lane: Stream, modality: str) -> int:
        """The latest start that is closed for a modality."""
        return max(lane.watermark_us - self._beyond_us[modality], self.last_emitted_us.get(session.name, NEVER_US))

    def _enter(self, session: Session, modality: str, member: Member, appended_us: int, starts: range) -> int | None:
        """Make a chunk a member of each of these windows (by start, rising) that has room: the last that had."""
        last, members_max = None, self.semantics.members_max
        for start in starts:
            window = session.windows.get(start)
            if window is None:
                window = session.windows[start] = OpenWindow(appended_us)
                insort(session.starts, start)
                self.windows_open += 1
            members = window.members.get(modality)
            if members is None:
                members = window.members[modality] = []
            if len(members) < members_max:
                members.append(member)
                if appended_us < window.opened_us:
                    window.opened_us = appended_us
                last = start
        if last is not None:
            # Windows of a session go out in order: the record is needed until the last of its own has gone.
            session.windows[last].last.append((modality, member.offset))
            self.retained[modality].retain(member.offset, appended_us)
        return last

    def _raise(self, lane: Stream, modality: str, step: WatermarkStep) -> None:
        lane.steps.append(step)
        lane.watermark_us = step.watermark_us
        lane.forget(step.watermark_us - self._beyond_us[modality])

    def _close(self, session: Session) -> list[Window]:
        out: list[Window] = []
        while session.starts and self._closed(session, session.starts[0]):
            start = session.starts[0]
            out.append(self._record(session, start, final=True))
            del session.starts[0]
            self.windows_open -= 1
            for modality, offset in session.windows.pop(start).last:
                self.retained[modality].release(offset)
            if session.name not in self.last_emitted_us:
                heappush(self._oldest, (start, session.name))
            self.last_emitted_us[session.name] = start
        if out:
            self._trim(session, out[-1].start_us)
            self._drop_if_empty(session)
        return out

    def _closed(self, session: Session, start_us: int) -> bool:
        """True once a window is closed for every modality that its session has."""
        for modality in session.modalities:
            # Not `all`: this is asked for each chunk, and the first answer is mostly no.
            if session.streams[modality].watermark_us - self._beyond_us[modality] < start_us:
                return False
        return True

    def _trim(self, session: Session, frontier_us: int) -> None:
        next_end_us = frontier_us + self.semantics.hop_us + self.semantics.size_us
        self._release_ticks(session, frontier_us)
        for lane in session.streams.values():
            del lane.steps[: min(bisect_left(lane.steps, (next_end_us,)), len(lane.steps) - 1)]

    def _release_ticks(self, session: Session, reach_us: int) -> None:
        for modality, lane in session.streams.items():
            for tick_us, offset in lane.ticks:
                if tick_us <= reach_us:
                    self.retained[modality].release(offset)
            if lane.ticks:
                lane.ticks = [tick for tick in lane.ticks if tick[0] > reach_us]

    def _drop_if_empty(self, session: Session) -> None:
        if session.starts:
            return
        if any(lane.ticks for lane in session.streams.values()):
            self._ticked.add(session.name)
        else:
            self.sessions.pop(session.name, None)

    def _record(self, session: Session, start_us: int, *, final: bool) -> Window:
        frontier_us = self.last_emitted_us.get(session.name)
        return build_window(session, start_us, frontier_us, self.semantics, self.config_digest, final=final)
