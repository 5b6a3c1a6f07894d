"""One partition number: its records through admission and alignment, and the effects that follow. Pure.

Everything that must happen outside comes back as a value, in the order in which it must happen. The windows topic is
read back only `tail_us` beyond the commit offsets, so sessions with older windows need a frontier record first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from services.aligner.alignment import WINDOWED, Aligner, Fate, Late, fate_name
from services.aligner.cached_admission import AdmissionCache
from services.aligner.idleness import (
    FOREVER_US,
    EndOffsets,
    IdleMarker,
    IdleTimeouts,
    TimerQueue,
    early_deadline_us,
    early_starts,
    idle_deadline_us,
    idle_markers,
)
from services.aligner.recovery import InitialState
from services.aligner.session import NEVER_US
from services.contract.admission import AdmittedChunk
from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import Chunk, SessionEnd
from services.contract.dead_letter import DeadLetter, Reason, Rejected, Stage, make_dead_letter
from services.contract.last_emitted_window import Frontier
from services.contract.record import LogRecord, RecordPosition
from services.contract.source_stats import PERIOD_US
from services.contract.tick import Tick, TickSigner
from services.contract.topics import Topics
from services.contract.window import Window


@dataclass(slots=True)
class FrontierCoverage:
    """Sessions with windows that no frontier record covers yet, by the append time of the oldest such window.

    old_keys: frontier keys of former owners, read at assignment, with the start that each told.
    """

    tail_us: int
    uncovered: dict[str, int] = field(default_factory=dict)
    old_keys: dict[str, list[tuple[bytes, int]]] = field(default_factory=dict)

    def on_window_emitted(self, session: str, appended_us: int) -> None:
        """A final window of a session was acknowledged (or read back from the tail)."""
        self.uncovered.setdefault(session, appended_us)

    def on_session_forgotten(self, session: str) -> None:
        """A session needs no frontier any more; what its topic holds of it goes by retention."""
        self.uncovered.pop(session, None)
        self.old_keys.pop(session, None)

    def due_sessions(self, new_floors_appended_us: Iterable[int]) -> list[str]:
        """The sessions to cover before these floors are committed.

        new_floors_appended_us: append times of the records at the new floors, as far as they are known; an unknown
        one is later than every known one or the only kind there is. Then nothing is held, and all are due.
        """
        known = list(new_floors_appended_us)
        before_us = min(known) - self.tail_us if known else None
        return sorted(s for s, emitted_us in self.uncovered.items() if before_us is None or emitted_us < before_us)

    def on_frontier_acknowledged(self, session: str, start_us: int) -> list[bytes]:
        """A frontier record of ours is acknowledged: the former owners' keys that say no more and can go."""
        self.uncovered.pop(session, None)
        keys = self.old_keys.pop(session, [])
        higher = [(key, told_us) for key, told_us in keys if told_us > start_us]
        if higher:
            self.old_keys[session] = higher
        return [key for key, told_us in keys if told_us <= start_us]


UNSIGNED = TickSigner()


@dataclass(slots=True)
class Effects:
    """What a batch leads to: payloads first, then late and dead, then windows and ticks; when all is kept, the floors."""

    number: int
    payloads: list[AdmittedChunk] = field(default_factory=list)
    late: list[tuple[Chunk, Late]] = field(default_factory=list)
    dead: list[tuple[bytes | None, DeadLetter]] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    idle_markers: list[IdleMarker] = field(default_factory=list)
    fates: Counter[tuple[str, str]] = field(default_factory=Counter)
    # The smallest clock offset by modality, source and period of append time (see `ClockOffset`).
    clock_offsets_us: dict[tuple[str, str, int], int] = field(default_factory=dict)


class Partition:
    """The state of one partition number between two assignments."""

    def __init__(
        self,
        number: int,
        partition_count: int,
        semantics: AlignmentConfig,
        patience: IdleTimeouts,
        topics: Topics,
        tail_us: int,
        start: InitialState,
        seal: TickSigner = UNSIGNED,
    ) -> None:
        self.number = number
        self.positions = dict(start.positions)
        self.aligner = Aligner(semantics, start.frontiers)
        self.coverage = FrontierCoverage(
            tail_us, dict(start.uncovered), {s: list(k) for s, k in start.old_keys.items()}
        )
        self._admission = AdmissionCache(number, partition_count, semantics)
        self._config, self._timeouts, self._topics, self._signer = semantics, patience, topics, seal
        # Nothing is known of the times of a log that gave no record yet: then nothing is forgotten.
        self._newest_appended_us = dict.fromkeys(semantics.modalities, NEVER_US)
        self._early_timers, self._idle_timers = TimerQueue(), TimerQueue()
        self._end_offsets = EndOffsets(-1, {})
        self._reached: frozenset[str] = frozenset()

    def process(self, records: Sequence[tuple[str, LogRecord]], now_us: int, *, behind: bool = False) -> Effects:
        """Hand records (in the order of their logs, none is fine) to the core, then do what is due.

        now_us: the monotonic clock. behind: more stands in the logs already; early answers wait, for it may close their
        windows.
        """
        effects = Effects(self.number)
        touched: set[str] = set()
        for modality, record in records:
            read = self._admission.admit(modality, record)
            if isinstance(read, AdmittedChunk):
                fate, windows = self.aligner.add_chunk(read.chunk, now_us)
                effects.windows += windows
                touched.add(read.chunk.session)
                self._add_fate(modality, record, read, fate, effects)
            else:
                touched.update(self._process_control(modality, record, read, now_us, effects))
        for modality, newest in dict(records).items():
            self.positions[modality] = newest.offset + 1
            self._newest_appended_us[modality] = newest.timestamp * 1000
        due = self._early_timers.pop_due(now_us)
        passed = frozenset(m for m in self._end_offsets.offsets if self._end_offsets.reached(m, self.positions))
        if passed != self._reached:
            # Only a proof that has come further shows more; sessions that wait for it are left alone until then.
            self._reached = passed
            due += self._idle_timers.pop_due(self._end_offsets.requested_mono_us)
        self._check_timers(sorted(touched.union(due)), now_us, effects, behind)
        return effects

    def next_deadline_us(self) -> int:
        """When there is something to do even without records, on the monotonic clock; LONG_US for never."""
        return min(
            self._early_timers.next_deadline_us(),
            self._idle_timers.next_deadline_us() if self._end_offsets_reached() else FOREVER_US,
        )

    def needs_end_offsets(self, now_us: int) -> bool:
        """True when a silence may be due that the newest proof is too old for.

        A proof is used up first: on a busy log our position would otherwise never reach an end asked for again and
        again.
        """
        return self._idle_timers.next_deadline_us() <= now_us and self._end_offsets_reached()

    def set_end_offsets(self, proof: EndOffsets) -> None:
        """Take the answer to a request for the ends of our logs; the next `take` makes use of it."""
        self._end_offsets, self._reached = proof, frozenset()

    def on_window_acknowledged(self, window: Window, appended_us: int) -> None:
        """The broker has a final window of ours; appended_us is its append time."""
        self.coverage.on_window_emitted(window.session, appended_us)

    def commit_offsets(self) -> dict[str, int]:
        """What may be committed, by modality, once every effect so far is acknowledged and `to_cover` is empty.

        What admission makes unnecessary is let go of first.
        """
        firsts = {modality: held.first() for modality, held in self.aligner.retained.items()}
        since_us = min(self._newest_appended_us[m] if first is None else first[1] for m, first in firsts.items())
        for session in self.aligner.forget_before(since_us):
            self.coverage.on_session_forgotten(session)
        return {
            modality: self.aligner.commit_offset(modality, position) for modality, position in self.positions.items()
        }

    def due_frontiers(self) -> list[Frontier]:
        """The frontier records that must be acknowledged before the floors are committed."""
        held = (held.first() for held in self.aligner.retained.values())
        due = self.coverage.due_sessions(first[1] for first in held if first is not None)
        return [Frontier(session, self.aligner.last_emitted_us[session], self.aligner.config_digest) for session in due]

    def _process_control(
        self, modality: str, record: LogRecord, read: Tick | SessionEnd | Rejected, now_us: int, effects: Effects
    ) -> Iterable[str]:
        """Take a record that is no chunk; the sessions that it touched."""
        if isinstance(read, Tick) and not self._is_signed(modality, record):
            read = Rejected(Reason.FORGED, "a tick that no tick_secret signed for this place")
        if isinstance(read, Tick):
            effects.windows += self.aligner.apply_tick(modality, read, record.offset, record.timestamp * 1000, now_us)
            return read.bounds
        if isinstance(read, SessionEnd):
            self.aligner.end_source(modality, read)
            return (read.session,)
        self._reject(modality, record, "admission", read, effects)
        return ()

    def _is_signed(self, modality: str, record: LogRecord) -> bool:
        topic = self._topics.media(modality)
        return self._signer.verify(topic, self.number, record.headers, record.value or b"")

    def _add_fate(self, modality: str, record: LogRecord, arrival: AdmittedChunk, fate: Fate, effects: Effects) -> None:
        chunk = arrival.chunk
        source = modality, chunk.source, chunk.appended_us // PERIOD_US
        behind_us = chunk.appended_us - chunk.t_us - chunk.duration_us
        if behind_us < effects.clock_offsets_us.get(source, FOREVER_US):
            effects.clock_offsets_us[source] = behind_us
        if fate is WINDOWED:
            effects.fates[modality, "windowed"] += 1
            effects.payloads.append(arrival)
        elif isinstance(fate, Rejected):
            self._reject(modality, record, "alignment", fate, effects)
        else:
            effects.fates[modality, fate_name(fate)] += 1
            if isinstance(fate, Late):
                effects.late.append((chunk, fate))

    def _reject(self, modality: str, record: LogRecord, stage: Stage, rejected: Rejected, effects: Effects) -> None:
        effects.fates[modality, "dead"] += 1
        at = RecordPosition(self._topics.media(modality), self.number, record.offset)
        effects.dead.append((record.key, make_dead_letter(at, stage, rejected, record.value, record.headers)))

    def _check_timers(self, names: Sequence[str], now_us: int, effects: Effects, behind: bool) -> None:
        patience = self._timeouts.scaled_for(sum(map(len, self.aligner.retained.values())))
        for name in names:
            session = self.aligner.sessions.get(name)
            if session is None:
                continue
            due_us = idle_deadline_us(session, self._config, patience)
            # Nothing else can have come due by a proof that is as old: a session is looked at for each batch of it.
            if due_us <= self._end_offsets.requested_mono_us or session.any_ended:
                effects.idle_markers += idle_markers(session, self._config, patience, self._end_offsets, self.positions)
                due_us = idle_deadline_us(session, self._config, patience)
            for start in () if behind else early_starts(session, self._config, patience, now_us):
                effects.windows.append(self.aligner.early_window(session, start))
            self._early_timers.set(name, early_deadline_us(session, self._config, patience))
            self._idle_timers.set(name, due_us)

    def _end_offsets_reached(self) -> bool:
        """True when the newest proof has shown all that it can."""
        return all(self._end_offsets.reached(m, self.positions) for m in self._end_offsets.offsets)
