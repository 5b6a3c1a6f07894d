"""Alignment of one partition number: what a window contains is a function of the media logs alone.

There is no clock, I/O, logging or randomness here. Times are integer microseconds. Arguments named `*_mono_us` are the
caller's monotonic clock; they decide nothing here (idleness.py reads them).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from services.aligner.generations import Generations
from services.aligner.session import NEVER_US, OpenWindow, Session, Stream, WatermarkStep, WindowStream
from services.aligner.window_builder import build_window
from services.contract.alignment_config import MEMBER_BYTES, NAME_CHARACTER_BYTES, AlignmentConfig, member_bytes
from services.contract.chunk import Chunk, SessionEnd
from services.contract.dead_letter import Reason, Rejected
from services.contract.quotas import QuotaLimits, count_chunk
from services.contract.session_reset import CLOSED_US, GenerationStart, SessionReset, split_generation_id
from services.contract.tick import Tick
from services.contract.window import Member, Window

NO_LIMIT = 1 << 62
NOWHERE: Mapping[str, int] = {}


class RetainedOffsets:
    """Offsets of one log that open windows or idle records still need; they come in rising order.

    The smallest retained offset is the commit offset, so that a commit never skips one (Faust's own rule does).
    """

    __slots__ = ("_order", "_uses")

    def __init__(self) -> None:
        self._order: deque[tuple[int, int]] = deque()
        self._uses: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._uses)

    def retain(self, offset: int, appended_us: int) -> None:
        """Retain an offset once more; each use is released on its own."""
        if offset not in self._uses:
            self._order.append((offset, appended_us))
            self._uses[offset] = 0
        self._uses[offset] += 1

    def release(self, offset: int) -> None:
        """Release one use of an offset. Raises KeyError if it is not retained."""
        self._uses[offset] -= 1
        if not self._uses[offset]:
            del self._uses[offset]

    def first(self) -> tuple[int, int] | None:
        """Return offset and append time (us) of the smallest retained offset, None if there is none."""
        while self._order and self._order[0][0] not in self._uses:
            self._order.popleft()
        return self._order[0] if self._order else None

    def commit_offset(self, position: int) -> int:
        """Return where a restart must read on; `position` is the offset of the next record to process."""
        first = self.first()
        return position if first is None else first[0]


@dataclass(frozen=True, slots=True)
class Windowed:
    """The fate of a chunk that is in at least one open window."""


WINDOWED = Windowed()


@dataclass(frozen=True, slots=True)
class Late:
    """The fate of a chunk whose windows were all closed for its stream.

    Attributes:
        missed_us: Starts of these windows.
        behind_us: How far the watermark was past the closing watermark of the last one.
    """

    missed_us: tuple[int, ...]
    behind_us: int


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The fate of a copy of a remembered chunk, with the same bytes."""


Fate = Windowed | Late | Duplicate | Rejected


def fate_name(fate: Fate) -> str:
    """Return windowed, late, duplicate, or the code of the reason for a rejection."""
    return fate.reason.value if isinstance(fate, Rejected) else type(fate).__name__.lower()


class Aligner:
    """The state of one partition number; it follows from the logs and the last emitted windows at the start.

    Sessions are held by generation id: a session that was reset is another one for alignment.

    Args:
        config: The alignment settings.
        last_emitted_us: Start of the last emitted window by generation id.
        generations: Where generations begin.
        positions: By modality, the offset from which on the log is read: resets before it were applied.
    """

    def __init__(
        self,
        config: AlignmentConfig,
        last_emitted_us: Mapping[str, int],
        generations: Iterable[GenerationStart] = (),
        positions: Mapping[str, int] = NOWHERE,
    ) -> None:
        self.config = config
        self.config_digest = config.digest
        self.last_emitted_us = dict(last_emitted_us)
        self.sessions: dict[str, Session] = {}
        # A running count: it is exported after each batch, and walking over all sessions would cost too much.
        self.windows_open = 0
        self._oldest = [(start_us, name) for name, start_us in last_emitted_us.items()]
        heapify(self._oldest)
        self._ticked: set[str] = set()
        self._quotas = QuotaLimits(config)
        self._members_bytes_max = NO_LIMIT if config.members_bytes_max is None else config.members_bytes_max
        self._member_share = self._members_bytes_max // config.members_max
        self._name_characters_max = (self._member_share - MEMBER_BYTES) // NAME_CHARACTER_BYTES
        self._lead_us = -NEVER_US if config.lead_us is None else config.lead_us
        self._close_after_us = {modality: config.closing_watermark_us(0, modality) for modality in config.modalities}
        self.retained = {modality: RetainedOffsets() for modality in config.modalities}
        self.generations = Generations(generations, positions)

    def add_chunk(self, chunk: Chunk, received_mono_us: int) -> tuple[Fate, list[Window]]:
        """Add a chunk; return its fate and the windows that it closed, in order of start."""
        name, modality, source, id, t_us, duration_us, sha256, partition, offset, appended_us, _, _ = chunk
        name = self.generations.id_at(name, modality, offset)
        session, config = self._session(name, received_mono_us), self.config
        stream = session.streams[modality]
        stream.add_source(source)
        starts = config.window_starts(t_us, duration_us)
        closed_us = self._closed_us(session, stream, modality)
        closed = (closed_us - starts.start) // starts.step + 1 if starts.start <= closed_us else 0
        open_starts = starts[closed:] if closed else starts
        if not open_starts:
            self._drop_if_empty(session)
            # If windows are further apart than they are long, a chunk may belong to no window at all.
            behind_us = max(stream.watermark_us - config.closing_watermark_us(starts[-1], modality), 0) if starts else 0
            return Late(tuple(starts), behind_us), []
        identity = chunk.identity
        if identity in stream.known:
            if stream.known[identity] == sha256:
                return Duplicate(), []
            return Rejected(Reason.CONFLICT, "this source sent other bytes under the same id and time"), []
        last_window = session.windows.get(starts[-1])
        usage = None if last_window is None else last_window.usage.get(modality)
        if usage is not None:
            exceeded = self._quotas.exceeded(usage, chunk)
            if exceeded is not None:
                return Rejected(Reason.QUOTA, exceeded), []
        member = Member(source, id, t_us, duration_us, sha256, partition, offset)
        last_start_us = self._enter(session, modality, member, appended_us, open_starts)
        if last_start_us is not None:
            stream.remember(identity, sha256, last_start_us)
            if last_start_us == starts[-1]:
                if usage is None:
                    usage = session.windows[last_start_us].usage[modality] = {}
                count_chunk(usage, chunk)
        # A chunk rejected for `limit` raises the watermark too. After a crash some of its windows may be emitted already;
        # whether one of them had room can then not be known, but the watermark must come out the same.
        # A clock that runs ahead must not make the other sources of its stream late.
        watermark_us = min(t_us + (duration_us if config.streams[modality].gapless else 0), appended_us + self._lead_us)
        windows: list[Window] = []
        if watermark_us > stream.watermark_us:
            session.last_data_mono_us = received_mono_us
            self._raise(stream, modality, WatermarkStep(watermark_us, appended_us, "data", received_mono_us))
            windows = self._close(session)
        if last_start_us is None:
            return Rejected(Reason.LIMIT, f"each window has {config.members_max} members or as many bytes"), windows
        return WINDOWED, windows

    def apply_tick(
        self, modality: str, tick: Tick, offset: int, appended_us: int, received_mono_us: int
    ) -> list[Window]:
        """Apply the watermarks of an idle record; return the windows that they closed, by generation id and start."""
        windows: list[Window] = []
        for name in sorted(tick.bounds):
            watermark_us = tick.bounds[name]
            session = self._session(name, received_mono_us)
            stream = session.streams[modality]
            if watermark_us > stream.watermark_us:
                self._raise(stream, modality, WatermarkStep(watermark_us, appended_us, tick.evidence, received_mono_us))
                hop_us = self.config.hop_us
                reach_us = (watermark_us - self._close_after_us[modality]) // hop_us * hop_us
                # Retained even if no window is open: the chunk that opens one may be in a log that is read more slowly.
                if reach_us > self.last_emitted_us.get(name, NEVER_US):
                    stream.ticks.append((reach_us, offset))
                    self.retained[modality].retain(offset, appended_us)
                windows += self._close(session)
            self._drop_if_empty(session)
        return windows

    def apply_reset(
        self, modality: str, reset: SessionReset, offset: int, appended_us: int, received_mono_us: int
    ) -> list[Window]:
        """Begin a generation in the log of a modality, which closes all older ones there; return the closed windows.

        A reset that names no newer generation than the log's last one is a repeated one and changes nothing.
        """
        windows: list[Window] = []
        if self.generations.begin(modality, reset, offset, appended_us):
            for id in self.generations.ids_of(reset.session):
                session = self.sessions.get(id)
                if session is not None:
                    self._close_logs(session, received_mono_us)
                    windows += self._close(session)
                    self._drop_if_empty(session)
        return windows

    def _close_logs(self, session: Session, received_mono_us: int) -> None:
        """Raise the watermarks of a generation to the end of time in each log in which a newer one has begun."""
        for modality, appended_us in self.generations.closed_logs(session.name):
            stream = session.streams.get(modality)
            if stream is not None and stream.watermark_us < CLOSED_US:
                self._raise(stream, modality, WatermarkStep(CLOSED_US, appended_us, "tick", received_mono_us))

    def end_source(self, modality: str, end: SessionEnd, offset: int) -> None:
        """Note that a source has ended; this raises no watermark (the idle record that follows does)."""
        session = self.sessions.get(self.generations.id_at(end.session, modality, offset))
        if session is not None:
            session.streams[modality].end_source(end.source)

    def early_window(self, session: Session, start_us: int) -> Window:
        """Build the early version of an open window from what is known now."""
        session.windows[start_us].early_emitted = True
        return self._build(session, start_us, final=False)

    def forget_before(self, appended_us: int) -> list[str]:
        """Forget what no record appended from `appended_us` on can concern; return the sessions forgotten.

        Args:
            appended_us: Smallest append time (us) of the records that a restart would read. Every record that the
                forgotten last emitted windows would rule out is stale by then, and no window would name them as the
                previous one.
        """
        config = self.config
        before_us = appended_us - config.stale_after_us - config.size_us - config.event_gap_us
        for name in sorted(self._ticked):
            session = self.sessions.get(name)
            if session is not None:
                self._release_ticks(session, before_us)
                self._drop_if_empty(session)
            if name not in self.sessions:
                self._ticked.discard(name)
        forgotten: list[str] = []
        remaining: list[tuple[int, str]] = []
        while self._oldest and self._oldest[0][0] < before_us:
            name = heappop(self._oldest)[1]
            if name in self.sessions or self.last_emitted_us[name] >= before_us:
                remaining.append((self.last_emitted_us[name], name))
            else:
                del self.last_emitted_us[name]
                forgotten.append(name)
        for entry in remaining:
            heappush(self._oldest, entry)
        return forgotten

    def commit_offset(self, modality: str, position: int) -> int:
        """Return where a restart must read on in the log of a modality; `position` is its next offset."""
        return self.retained[modality].commit_offset(position)

    def _session(self, name: str, received_mono_us: int) -> Session:
        session = self.sessions.get(name)
        if session is None:
            streams = {modality: Stream() for modality in self.config.modalities}
            modalities = self.config.modalities_of(split_generation_id(name)[0])
            session = self.sessions[name] = Session(name, modalities, streams, received_mono_us)
            self._close_logs(session, received_mono_us)
        return session

    def _closed_us(self, session: Session, stream: Stream, modality: str) -> int:
        """Return the latest start of a window that is closed for a stream."""
        return max(
            stream.watermark_us - self._close_after_us[modality], self.last_emitted_us.get(session.name, NEVER_US)
        )

    def _enter(self, session: Session, modality: str, member: Member, appended_us: int, starts: range) -> int | None:
        """Add a member to each of these windows that has room; return the start of the last one that had."""
        last, members_max, share = None, self.config.members_max, self._member_share
        # Nearly all members take less than their share of the record; those of long names use that of others.
        fits = len(member.source) + len(member.id) <= self._name_characters_max
        excess = 0 if fits else max(member_bytes(member.source, member.id) - share, 0)
        for start in starts:
            window = session.windows.get(start)
            if window is None:
                window = session.windows[start] = OpenWindow(appended_us)
                insort(session.starts, start)
                self.windows_open += 1
            members = window.members.get(modality)
            if members is None:
                members = window.members[modality] = WindowStream()
            if len(members) < members_max and (
                (fits and not members.excess)
                or (len(members) + 1) * share + members.excess + excess <= self._members_bytes_max
            ):
                members.append(member)
                if excess:
                    members.excess += excess
                if appended_us < window.opened_us:
                    window.opened_us = appended_us
                last = start
        if last is not None:
            # The windows of a session are emitted in order, so the record is needed until the last of them is.
            session.windows[last].last.append((modality, member.offset))
            self.retained[modality].retain(member.offset, appended_us)
        return last

    def _raise(self, stream: Stream, modality: str, step: WatermarkStep) -> None:
        stream.steps.append(step)
        stream.watermark_us = step.watermark_us
        stream.forget(step.watermark_us - self._close_after_us[modality])

    def _close(self, session: Session) -> list[Window]:
        windows: list[Window] = []
        while session.starts and self._closed(session, session.starts[0]):
            start = session.starts[0]
            windows.append(self._build(session, start, final=True))
            del session.starts[0]
            self.windows_open -= 1
            for modality, offset in session.windows.pop(start).last:
                self.retained[modality].release(offset)
            if session.name not in self.last_emitted_us:
                heappush(self._oldest, (start, session.name))
            self.last_emitted_us[session.name] = start
        if windows:
            self._trim(session, windows[-1].start_us)
            self._drop_if_empty(session)
        return windows

    def _closed(self, session: Session, start_us: int) -> bool:
        """Return whether a window is closed for every stream of its session."""
        for modality in session.modalities:
            # A loop rather than `all`: this runs for each chunk, and mostly ends at the first stream.
            if session.streams[modality].watermark_us - self._close_after_us[modality] < start_us:
                return False
        return True

    def _trim(self, session: Session, last_emitted_us: int) -> None:
        next_end_us = last_emitted_us + self.config.hop_us + self.config.size_us
        self._release_ticks(session, last_emitted_us)
        for stream in session.streams.values():
            del stream.steps[: min(bisect_left(stream.steps, (next_end_us,)), len(stream.steps) - 1)]

    def _release_ticks(self, session: Session, reach_us: int) -> None:
        for modality, stream in session.streams.items():
            for tick_us, offset in stream.ticks:
                if tick_us <= reach_us:
                    self.retained[modality].release(offset)
            if stream.ticks:
                stream.ticks = [tick for tick in stream.ticks if tick[0] > reach_us]

    def _drop_if_empty(self, session: Session) -> None:
        if session.starts:
            return
        if any(stream.ticks for stream in session.streams.values()):
            self._ticked.add(session.name)
        else:
            self.sessions.pop(session.name, None)

    def _build(self, session: Session, start_us: int, *, final: bool) -> Window:
        last_emitted_us = self.last_emitted_us.get(session.name)
        return build_window(session, start_us, last_emitted_us, self.config, self.config_digest, final=final)
