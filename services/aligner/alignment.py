"""Alignment of one partition number: what a window contains is a function of the media logs alone.

There is no clock, I/O, logging or randomness here. Times are integer microseconds. Arguments named `*_mono_us` are the
caller's monotonic clock; they decide nothing here (idleness.py reads them).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from services.aligner.generations import Generations
from services.aligner.member_limits import MemberLimits
from services.aligner.panes import Identity, Pane
from services.aligner.retained_offsets import RetainedOffsets
from services.aligner.session import NEVER_US, Session, Stream, WatermarkStep
from services.aligner.window_builder import build_window
from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import Chunk, SessionEnd
from services.contract.dead_letter import Reason, Rejected
from services.contract.quotas import QuotaLimits
from services.contract.session_reset import CLOSED_US, GenerationStart, SessionReset, split_generation_id
from services.contract.tick import Tick
from services.contract.window import Window

NOWHERE: Mapping[str, int] = {}


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
        self._quotas, self._limits = QuotaLimits(config), MemberLimits(config)
        self._lead_us = -NEVER_US if config.lead_us is None else config.lead_us
        self._size_us, self._hop_us = config.size_us, config.hop_us
        self.retained = {modality: RetainedOffsets() for modality in config.modalities}
        self.generations = Generations(generations, positions)

    def add_chunk(self, chunk: Chunk, received_mono_us: int) -> tuple[Fate, list[Window]]:
        """Add a chunk; return its fate and the windows that it closed, in order of start."""
        name, modality, source, id, t_us, duration_us, sha256, _, offset, appended_us, payload_bytes, pixels = chunk
        name = self.generations.id_at(name, modality, offset)
        session = self.sessions.get(name) or self._open_session(name, received_mono_us)
        stream, hop_us = session.streams[modality], self._hop_us
        if source not in stream.sources or stream.ended:
            stream.add_source(source)
        # As `AlignmentConfig.window_starts`, without a range for each chunk.
        first_us = ((t_us - self._size_us) // hop_us + 1) * hop_us
        last_us = (t_us + (duration_us or 1) - 1) // hop_us * hop_us
        open_us = first_us if first_us > stream.closed_us else (stream.closed_us // hop_us + 1) * hop_us
        if open_us > last_us:
            self._drop_if_empty(session)
            return self._late(stream, chunk), []
        identity, pane = (source, id, t_us, duration_us), stream.panes.get(last_us)
        known = None if pane is None else pane.chunks.get(identity)
        if known is None and stream.shortened:
            known = stream.find_shortened(identity)
        if known is not None:
            if known.sha256 == sha256:
                return Duplicate(), []
            return Rejected(Reason.CONFLICT, "this source sent other bytes under the same id and time"), []
        if pane is not None and self._quotas.may_exceed(
            len(pane.chunks), pane.payload_bytes + payload_bytes, pane.pixels + pixels
        ):
            usage = pane.usage()
            exceeded = self._quotas.exceeded(usage, chunk) if usage else None
            if exceeded is not None:
                return Rejected(Reason.QUOTA, exceeded), []
        is_member = self._enter(session, stream, chunk, identity, pane, first_us, open_us, last_us)
        # A chunk rejected for `limit` raises the watermark too. After a crash some of its windows may be emitted already;
        # whether one of them had room can then not be known, but the watermark must come out the same.
        # A clock that runs ahead must not make the other sources of its stream late.
        watermark_us = min(t_us + duration_us if stream.gapless else t_us, appended_us + self._lead_us)
        windows: list[Window] = []
        if watermark_us > stream.watermark_us:
            session.last_data_mono_us = received_mono_us
            stream.raise_watermark(WatermarkStep(watermark_us, appended_us, "data", received_mono_us))
            if session.starts and session.starts[0] <= stream.closed_us:
                windows = self._close(session)
        if not is_member:
            return Rejected(
                Reason.LIMIT, f"each window has {self.config.members_max} members or as many bytes"
            ), windows
        return WINDOWED, windows

    def apply_tick(
        self, modality: str, tick: Tick, offset: int, appended_us: int, received_mono_us: int
    ) -> list[Window]:
        """Apply the watermarks of an idle record; return the windows that they closed, by generation id and start."""
        windows: list[Window] = []
        for name in sorted(tick.bounds):
            watermark_us = tick.bounds[name]
            session = self.sessions.get(name) or self._open_session(name, received_mono_us)
            stream = session.streams[modality]
            if watermark_us > stream.watermark_us:
                stream.raise_watermark(WatermarkStep(watermark_us, appended_us, tick.evidence, received_mono_us))
                hop_us = self.config.hop_us
                reach_us = (watermark_us - stream.close_after_us) // hop_us * hop_us
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
                stream.raise_watermark(WatermarkStep(CLOSED_US, appended_us, "tick", received_mono_us))

    def end_source(self, modality: str, end: SessionEnd, offset: int) -> None:
        """Note that a source has ended; this raises no watermark (the idle record that follows does)."""
        session = self.sessions.get(self.generations.id_at(end.session, modality, offset))
        if session is not None:
            session.streams[modality].end_source(end.source)

    def early_window(self, session: Session, start_us: int) -> Window:
        """Build the early version of an open window from what is known now."""
        session.early.add(start_us)
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

    def _open_session(self, name: str, received_mono_us: int) -> Session:
        closed_us, config = self.last_emitted_us.get(name, NEVER_US), self.config
        streams = {
            modality: Stream(config.closing_watermark_us(0, modality), stream.gapless, closed_us)
            for modality, stream in config.streams.items()
        }
        modalities = config.modalities_of(split_generation_id(name)[0])
        session = self.sessions[name] = Session(name, modalities, streams, received_mono_us)
        self._close_logs(session, received_mono_us)
        return session

    def _late(self, stream: Stream, chunk: Chunk) -> Late:
        starts = self.config.window_starts(chunk.t_us, chunk.duration_us)
        # If windows are further apart than they are long, a chunk may belong to no window at all.
        behind_us = max(stream.watermark_us - stream.close_after_us - starts[-1], 0) if starts else 0
        return Late(tuple(starts), behind_us)

    def _enter(
        self,
        session: Session,
        stream: Stream,
        chunk: Chunk,
        identity: Identity,
        pane: Pane | None,
        first_us: int,
        open_us: int,
        last_us: int,
    ) -> bool:
        """Add a chunk to the pane of its last window; return False if none of its windows has room.

        Args:
            session: The session.
            stream: The stream.
            chunk: The chunk.
            identity: Its identity.
            pane: The pane of the last window that it overlaps, if there is one.
            first_us: Start of the first window that it overlaps.
            open_us: The first of these that is open for its stream.
            last_us: The last one.
        """
        hop_us = self._hop_us
        starts: Sequence[int] | None = None if open_us == first_us else range(open_us, last_us + 1, hop_us)
        pane_us = last_us
        if stream.room and len(chunk.source) + len(chunk.id) <= self._limits.name_characters_max:
            stream.room -= 1
        else:
            overlapped = range(open_us, last_us + 1, hop_us)
            entered = self._limits.windows_with_room(stream, session.starts, chunk, overlapped)
            if not entered:
                return False
            if len(entered) < len(overlapped):
                starts, open_us, pane_us = entered, entered[0], entered[-1]
                pane = stream.panes.get(pane_us)
        if pane is None:
            # The windows of a session are emitted in order, so its records are needed until the last of them is.
            pane = stream.open_pane(pane_us, chunk)
            self.retained[chunk.modality].retain(chunk.offset, chunk.appended_us)
        else:
            self.retained[chunk.modality].further += 1
        pane.add(identity, chunk)
        if open_us < pane.windows_from_us:
            self.windows_open += session.open_windows(open_us, pane_us, hop_us)
            pane.windows_from_us = open_us
        if starts is not None:
            is_rest = len(starts) == (last_us - open_us) // hop_us + 1
            pane.limit(chunk.offset, starts, open_us if is_rest else pane_us + 1)
            if pane_us != last_us:
                pane.do_not_count(chunk.offset)
                stream.shortened[identity] = pane_us
        return True

    def _close(self, session: Session) -> list[Window]:
        windows: list[Window] = []
        while session.starts and self._closed(session, session.starts[0]):
            start = session.starts[0]
            windows.append(self._build(session, start, final=True))
            del session.starts[0]
            session.early.discard(start)
            self.windows_open -= 1
            for modality, stream in session.streams.items():
                self._drop_window(modality, stream, start)
            if session.name not in self.last_emitted_us:
                heappush(self._oldest, (start, session.name))
            self.last_emitted_us[session.name] = start
        if windows:
            self._trim(session, windows[-1].start_us)
            self._drop_if_empty(session)
        return windows

    def _drop_window(self, modality: str, stream: Stream, start_us: int) -> None:
        """Drop what only an emitted window needed."""
        stream.closed_us = max(stream.closed_us, start_us)
        if stream.counts is not None:
            stream.counts.pop(start_us, None)
        pane = stream.panes.pop(start_us, None)
        if pane is not None:
            self.retained[modality].release(pane.offset)
            self.retained[modality].further -= len(pane.chunks) - 1
        if stream.shortened:
            stream.shortened = {identity: us for identity, us in stream.shortened.items() if us > start_us}

    def _closed(self, session: Session, start_us: int) -> bool:
        """Return whether a window is closed for every stream of its session."""
        for modality in session.modalities:
            # A loop rather than `all`: this runs for each chunk, and mostly ends at the first stream.
            stream = session.streams[modality]
            if stream.watermark_us - stream.close_after_us < start_us:
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
