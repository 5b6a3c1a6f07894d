"""One partition number: admission and alignment of its records, and the effects that follow.

Nothing here touches the outside: effects are returned as values, in the order in which they must happen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
from services.contract.admission import Admitted, AdmittedChunk
from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import Chunk, SessionEnd
from services.contract.dead_letter import DeadLetter, Reason, Rejected, Stage, make_dead_letter, rejected_for
from services.contract.kafka_record import LogRecord, RecordPosition
from services.contract.last_emitted_window import LastEmittedWindow
from services.contract.quotas import OpenSessions
from services.contract.session_reset import GenerationStart, SessionReset
from services.contract.signature import Signer
from services.contract.source_stats import PERIOD_US
from services.contract.tick import Tick
from services.contract.topics import Topics
from services.contract.window import Window


@dataclass(slots=True)
class FrontierCoverage:
    """Sessions, by generation id, that need a frontier record before offsets are committed.

    A restart reads the windows topic back only `tail_us` beyond the committed offsets. A session whose windows are older
    needs a frontier record, or a restart would build them again.

    Attributes:
        tail_us: How far back the windows topic is read at assignment.
        uncovered: Append time (us) of the oldest such window by session.
        old_keys: By session, the frontier records of former owners: (key, start in us).
    """

    tail_us: int
    uncovered: dict[str, int] = field(default_factory=dict)
    old_keys: dict[str, list[tuple[bytes, int]]] = field(default_factory=dict)

    def on_window_emitted(self, session: str, appended_us: int) -> None:
        """Note that a final window was acknowledged, or read back from the windows topic."""
        # The smallest, not the first: append times may go back.
        self.uncovered[session] = min(appended_us, self.uncovered.get(session, appended_us))

    def on_session_forgotten(self, session: str) -> None:
        """Drop a session that needs no frontier record any more; retention deletes the old ones."""
        self.uncovered.pop(session, None)
        self.old_keys.pop(session, None)

    def due_sessions(self, retained_appended_us: Iterable[int]) -> list[str]:
        """Return the sessions to cover before the new offsets are committed.

        Args:
            retained_appended_us: Append times (us) of the first retained record of each log; logs that retain nothing
                have none. If no log retains a record, every session is due.
        """
        known = list(retained_appended_us)
        before_us = min(known) - self.tail_us if known else None
        return sorted(s for s, emitted_us in self.uncovered.items() if before_us is None or emitted_us < before_us)

    def on_frontier_acknowledged(self, session: str, start_us: int) -> list[bytes]:
        """Note that our frontier record is acknowledged; return the keys of former owners that it makes obsolete."""
        self.uncovered.pop(session, None)
        keys = self.old_keys.pop(session, [])
        higher = [(key, old_start_us) for key, old_start_us in keys if old_start_us > start_us]
        if higher:
            self.old_keys[session] = higher
        return [key for key, old_start_us in keys if old_start_us <= start_us]


UNSIGNED = Signer()


NONE_FAILED: Mapping[tuple[str, int], Rejected] = {}


@dataclass(slots=True)
class Effects:
    """What a batch leads to, in the order in which it must be done; then offsets may be committed.

    Attributes:
        number: The partition number.
        payloads: Chunks whose payloads go to the cache.
        late: Late chunks.
        dead: Dead letters with the keys of their records.
        windows: Windows to publish.
        idle_markers: Idle records to write.
        fates: Count by modality and fate.
        clock_offsets_us: The smallest clock offset by modality, source and period of append time (see `ClockOffset`).
    """

    number: int
    payloads: list[AdmittedChunk] = field(default_factory=list)
    late: list[tuple[Chunk, Late]] = field(default_factory=list)
    dead: list[tuple[bytes | None, DeadLetter]] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    idle_markers: list[IdleMarker] = field(default_factory=list)
    fates: Counter[tuple[str, str]] = field(default_factory=Counter)
    clock_offsets_us: dict[tuple[str, str, int], int] = field(default_factory=dict)


class RecordError(Exception):
    """A failure to process an admitted record, after which the state of its partition number is not to be trusted.

    Args:
        number: The partition number.
        modality: The modality of the record's log.
        offset: The offset of the record.
    """

    def __init__(self, number: int, modality: str, offset: int) -> None:
        super().__init__(number, modality, offset)
        self.number, self.modality, self.offset = number, modality, offset


class Partition:
    """The state of one partition number between two assignments.

    Args:
        number: The partition number.
        partition_count: The partitions of each topic.
        config: The alignment settings.
        timeouts: How long silent streams are waited for.
        topics: The topic names.
        tail_us: How far back the windows topic is read at assignment.
        start: Where to go on.
        signer: Verifies idle records.
        failed: By modality and offset, records on which processing failed before, with the rejection.
    """

    def __init__(
        self,
        number: int,
        partition_count: int,
        config: AlignmentConfig,
        timeouts: IdleTimeouts,
        topics: Topics,
        tail_us: int,
        start: InitialState,
        signer: Signer = UNSIGNED,
        failed: Mapping[tuple[str, int], Rejected] = NONE_FAILED,
    ) -> None:
        self.number = number
        self.positions = dict(start.positions)
        self.aligner = Aligner(config, start.last_emitted_us, start.generations, start.positions)
        self.coverage = FrontierCoverage(
            tail_us, dict(start.uncovered), {s: list(k) for s, k in start.old_keys.items()}
        )
        self.open_sessions = {modality: OpenSessions(config) for modality in config.modalities}
        self._admission = AdmissionCache(number, partition_count, config)
        self._config, self._timeouts, self._topics, self._signer = config, timeouts, topics, signer
        self._failed = failed
        # NEVER_US until a log has given a record: nothing is forgotten before its times are known.
        self._newest_appended_us = dict.fromkeys(config.modalities, NEVER_US)
        self._early_timers, self._idle_timers = TimerQueue(), TimerQueue()
        self._end_offsets = EndOffsets(-1, {})
        self._reached: frozenset[str] = frozenset()

    def process(
        self,
        records: Sequence[tuple[str, LogRecord]],
        now_us: int,
        *,
        positions: Mapping[str, int] | None = None,
        has_more: bool = False,
    ) -> Effects:
        """Process records in the order of their logs (or none), then check what is due.

        Args:
            records: Modality and record.
            now_us: The monotonic clock.
            positions: By modality, the offset below which no record is left to process after these. It passes markers of
                transactions and deleted records, which are no records. None: the offsets after these records.
            has_more: Whether the logs hold more records already. Early windows then wait: the next records may close
                them.

        Raises:
            RecordError: Processing failed on a record; this partition must be built anew, with the record in `failed`.
        """
        effects = Effects(self.number)
        sessions: set[str] = set()
        try:
            for modality, record in records:
                admitted = self._admit(modality, record)
                if isinstance(admitted, AdmittedChunk):
                    chunk = admitted.chunk
                    exceeded = self.open_sessions[modality].count(chunk.session, chunk.source, chunk.appended_us)
                    if exceeded is not None:
                        self._reject(modality, record, "alignment", Rejected(Reason.QUOTA, exceeded), effects)
                        continue
                    fate, windows = self.aligner.add_chunk(chunk, now_us)
                    if windows:
                        effects.windows += windows
                    sessions.add(self.aligner.generations.id_at(chunk.session, modality, record.offset))
                    self._add_fate(modality, record, admitted, fate, effects)
                else:
                    sessions.update(self._process_control(modality, record, admitted, now_us, effects))
        except MemoryError:
            raise
        except Exception as error:
            raise RecordError(self.number, modality, record.offset) from error
        for modality, newest in dict(records).items():
            self.positions[modality] = newest.offset + 1
            self._newest_appended_us[modality] = newest.timestamp * 1000
        self.positions.update(positions or {})
        due = self._early_timers.pop_due(now_us)
        reached = frozenset(m for m in self._end_offsets.offsets if self._end_offsets.reached(m, self.positions))
        if reached != self._reached:
            # Sessions that wait for end offsets are checked only when more of these are reached.
            self._reached = reached
            due += self._idle_timers.pop_due(self._end_offsets.requested_mono_us)
        self._check_timers(sorted(sessions.union(due)), now_us, effects, has_more)
        return effects

    def count_earlier(self, modality: str, record: LogRecord) -> None:
        """Count a record before the position of a log for the quota of open sessions; idle records must be verified."""
        admitted = self._admit(modality, record)
        if isinstance(admitted, AdmittedChunk):
            chunk = admitted.chunk
            self.open_sessions[modality].count(chunk.session, chunk.source, chunk.appended_us)
        else:
            self._advance_period(modality, record, admitted)

    def next_deadline_us(self) -> int:
        """Return when (monotonic clock) there is something to do even without records, else FOREVER_US."""
        return min(
            self._early_timers.next_deadline_us(),
            self._idle_timers.next_deadline_us() if self._end_offsets_reached() else FOREVER_US,
        )

    def needs_end_offsets(self, now_us: int) -> bool:
        """Return whether a stream may be idle and newer end offsets are needed to show it.

        Former end offsets are reached first: on a busy log the position would otherwise never reach offsets that are
        requested again and again.
        """
        return self._idle_timers.next_deadline_us() <= now_us and self._end_offsets_reached()

    def set_end_offsets(self, end_offsets: EndOffsets) -> None:
        """Set the answer to a request for the end offsets of the media logs; the next `process` uses it."""
        self._end_offsets, self._reached = end_offsets, frozenset()

    def on_window_acknowledged(self, window: Window, appended_us: int) -> None:
        """Note that the broker has a final window; `appended_us` is its append time."""
        self.coverage.on_window_emitted(window.generation_id, appended_us)

    def commit_offsets(self, wall_us: int) -> dict[str, int]:
        """Return the offsets to commit by modality, once all effects and `due_frontiers` are acknowledged.

        State that no later record can concern is forgotten first.

        Args:
            wall_us: The local wall clock, which can only delay forgetting: append times that jump ahead and back would
                otherwise make us forget a session whose records are not stale.
        """
        firsts = {modality: held.first() for modality, held in self.aligner.retained.items()}
        since_us = min(self._newest_appended_us[m] if first is None else first[1] for m, first in firsts.items())
        for session in self.aligner.forget_before(min(since_us, wall_us)):
            self.coverage.on_session_forgotten(session)
        return {
            modality: self.aligner.commit_offset(modality, position) for modality, position in self.positions.items()
        }

    def due_frontiers(self) -> list[LastEmittedWindow]:
        """Return the frontier records that must be acknowledged before offsets are committed."""
        held = (held.first() for held in self.aligner.retained.values())
        due = self.coverage.due_sessions(first[1] for first in held if first is not None)
        return [
            LastEmittedWindow.of(session, self.aligner.last_emitted_us[session], self.aligner.config_digest)
            for session in due
        ]

    def due_generations(self) -> list[GenerationStart]:
        """Return where generations began, as far as it must be acknowledged before offsets are committed."""
        return list(self.aligner.generations.unrecorded)

    def on_generations_acknowledged(self, starts: Sequence[GenerationStart]) -> None:
        """Note that the broker has these records."""
        del self.aligner.generations.unrecorded[: len(starts)]

    def _admit(self, modality: str, record: LogRecord) -> Admitted | Rejected:
        """Judge a record. Admission changes nothing, so a failure concerns this record alone."""
        if self._failed and (modality, record.offset) in self._failed:
            return self._failed[modality, record.offset]
        try:
            return self._admission.admit(modality, record)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the records after it are processed
            return rejected_for(error)

    def _process_control(
        self,
        modality: str,
        record: LogRecord,
        control: Tick | SessionEnd | SessionReset | Rejected,
        now_us: int,
        effects: Effects,
    ) -> Iterable[str]:
        """Process a record that is not a chunk; return the ids of the generations that it concerns."""
        if isinstance(control, Tick | SessionReset) and not self._is_signed(modality, record):
            control = Rejected(Reason.FORGED, "an idle record or a reset that no service signed for this place")
        self._advance_period(modality, record, control)
        if isinstance(control, SessionReset):
            effects.windows += self.aligner.apply_reset(
                modality, control, record.offset, record.timestamp * 1000, now_us
            )
            return self.aligner.generations.ids_of(control.session)
        if isinstance(control, Tick):
            effects.windows += self.aligner.apply_tick(
                modality, control, record.offset, record.timestamp * 1000, now_us
            )
            return control.bounds
        if isinstance(control, SessionEnd):
            self.aligner.end_source(modality, control, record.offset)
            return (self.aligner.generations.id_at(control.session, modality, record.offset),)
        if control.clock is not None:
            # People must see why all records of a source are rejected.
            source, offset_us = control.clock
            self._add_clock_offset(modality, source, record.timestamp * 1000, offset_us, effects)
        self._reject(modality, record, "admission", control, effects)
        return ()

    def _advance_period(self, modality: str, record: LogRecord, control: object) -> None:
        """Let a record that is no chunk, and that every reader of the log sees, begin a period of open sessions."""
        if record.key is not None or not isinstance(control, Rejected):
            self.open_sessions[modality].advance(record.timestamp * 1000)

    def _is_signed(self, modality: str, record: LogRecord) -> bool:
        return self._signer.verify(self._topics.media(modality), self.number, record)

    def _add_fate(
        self, modality: str, record: LogRecord, admitted: AdmittedChunk, fate: Fate, effects: Effects
    ) -> None:
        chunk = admitted.chunk
        _, _, source, _, t_us, duration_us, _, _, _, appended_us, _, _ = chunk
        if fate is not WINDOWED and isinstance(fate, Rejected) and fate.reason is Reason.QUOTA:
            # What is over its quota gets no statistics: a flood of sources would displace those of others.
            self._reject(modality, record, "alignment", fate, effects)
            return
        if not (self._config.clocks and self._config.uses_append_time(source)):
            self._add_clock_offset(modality, source, appended_us, appended_us - t_us - duration_us, effects)
        if fate is WINDOWED:
            effects.fates[modality, "windowed"] += 1
            effects.payloads.append(admitted)
        elif isinstance(fate, Rejected):
            self._reject(modality, record, "alignment", fate, effects)
        else:
            effects.fates[modality, fate_name(fate)] += 1
            if isinstance(fate, Late):
                effects.late.append((chunk, fate))

    def _add_clock_offset(self, modality: str, source: str, appended_us: int, offset_us: int, effects: Effects) -> None:
        key = modality, source, appended_us // PERIOD_US
        if offset_us < effects.clock_offsets_us.get(key, FOREVER_US):
            effects.clock_offsets_us[key] = offset_us

    def _reject(self, modality: str, record: LogRecord, stage: Stage, rejected: Rejected, effects: Effects) -> None:
        effects.fates[modality, "dead"] += 1
        position = RecordPosition(self._topics.media(modality), self.number, record.offset)
        effects.dead.append((record.key, make_dead_letter(position, stage, rejected, record.value, record.headers)))

    def _check_timers(self, names: Sequence[str], now_us: int, effects: Effects, has_more: bool) -> None:
        timeouts = self._timeouts.scaled_for(sum(map(len, self.aligner.retained.values())))
        for name in names:
            session = self.aligner.sessions.get(name)
            if session is None:
                continue
            due_us = idle_deadline_us(session, self._config, timeouts)
            # Only then can something be due: a session is checked after each of its batches, and markers cost more.
            if due_us <= self._end_offsets.requested_mono_us or session.any_ended:
                effects.idle_markers += idle_markers(session, self._config, timeouts, self._end_offsets, self.positions)
                due_us = idle_deadline_us(session, self._config, timeouts)
            for start in () if has_more else early_starts(session, self._config, timeouts, now_us):
                effects.windows.append(self.aligner.early_window(session, start))
            self._early_timers.set(name, early_deadline_us(session, self._config, timeouts))
            self._idle_timers.set(name, due_us)

    def _end_offsets_reached(self) -> bool:
        """Return whether the newest end offsets are reached in every log."""
        return all(self._end_offsets.reached(m, self.positions) for m in self._end_offsets.offsets)
