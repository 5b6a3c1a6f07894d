"""One partition number: its records through admission and alignment, and what is to be done about them.

Pure: everything that must happen outside comes back as a value, in the order in which it must happen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from services.aligner.admission import Arrival
from services.aligner.admission_cache import Gate
from services.aligner.alignment import WINDOWED, Aligner, Fate, Late, name_of
from services.aligner.frontier_coverage import Coverage
from services.aligner.idleness import (
    LONG_US,
    Agenda,
    Patience,
    Proof,
    Silent,
    early_due,
    early_starts,
    silence_due,
    silences,
)
from services.aligner.recovery import Start
from services.aligner.session import NEVER_US
from services.contract.alignment_config import Semantics
from services.contract.chunk import Chunk, SessionEnd
from services.contract.dead_letter import DeadLetter, Reason, Rejected, Stage, letter
from services.contract.frontier import Frontier
from services.contract.record import LogRecord, RecordPosition
from services.contract.source_stats import PERIOD_US
from services.contract.tick import Seal, Tick
from services.contract.topics import Topics
from services.contract.window import Window

NO_SEAL = Seal()


@dataclass(slots=True)
class Effects:
    """What a batch leads to: payloads first, then late and dead, then windows and ticks; when all is kept, the floors."""

    number: int
    payloads: list[Arrival] = field(default_factory=list)
    late: list[tuple[Chunk, Late]] = field(default_factory=list)
    dead: list[tuple[bytes | None, DeadLetter]] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    silences: list[Silent] = field(default_factory=list)
    fates: Counter[tuple[str, str]] = field(default_factory=Counter)
    # The smallest clock offset by modality, source and period of append time (see `ClockOffset`).
    offsets_us: dict[tuple[str, str, int], int] = field(default_factory=dict)


class Partition:
    """The state of one partition number between two assignments."""

    def __init__(
        self,
        number: int,
        partition_count: int,
        semantics: Semantics,
        patience: Patience,
        topics: Topics,
        tail_us: int,
        start: Start,
        seal: Seal = NO_SEAL,
    ) -> None:
        self.number = number
        self.positions = dict(start.positions)
        self.aligner = Aligner(semantics, start.frontiers)
        self.coverage = Coverage(tail_us, dict(start.uncovered), {s: list(k) for s, k in start.old_keys.items()})
        self._gate = Gate(number, partition_count, semantics)
        self._semantics, self._patience, self._topics, self._seal = semantics, patience, topics, seal
        # Nothing is known of the times of a log that gave no record yet: then nothing is forgotten.
        self._handed_us = dict.fromkeys(semantics.modalities, NEVER_US)
        self._early, self._silent = Agenda(), Agenda()
        self._proof = Proof(-1, {})
        self._passed: frozenset[str] = frozenset()

    def take(self, records: Sequence[tuple[str, LogRecord]], now_us: int, *, behind: bool = False) -> Effects:
        """Hand records (in the order of their logs, none is fine) to the core, then do what is due.

        now_us: the monotonic clock. behind: more stands in the logs already; early answers wait, for it may close their
        windows.
        """
        effects = Effects(self.number)
        touched: set[str] = set()
        for modality, record in records:
            read = self._gate.admit(modality, record)
            if isinstance(read, Arrival):
                fate, windows = self.aligner.chunk(read.chunk, now_us)
                effects.windows += windows
                touched.add(read.chunk.session)
                self._tell(modality, record, read, fate, effects)
            else:
                touched.update(self._other(modality, record, read, now_us, effects))
        for modality, newest in dict(records).items():
            self.positions[modality] = newest.offset + 1
            self._handed_us[modality] = newest.timestamp * 1000
        due = self._early.pop_due(now_us)
        passed = frozenset(m for m in self._proof.ends if self._proof.passed(m, self.positions))
        if passed != self._passed:
            # Only a proof that has come further shows more; sessions that wait for it are left alone until then.
            self._passed = passed
            due += self._silent.pop_due(self._proof.asked_us)
        self._look(sorted(touched.union(due)), now_us, effects, behind)
        return effects

    def next_us(self) -> int:
        """When there is something to do even without records, on the monotonic clock; LONG_US for never."""
        return min(self._early.next_us(), self._silent.next_us() if self._used_up() else LONG_US)

    def wants_proof(self, now_us: int) -> bool:
        """True when a silence may be due that the newest proof is too old for.

        A proof is used up first: on a busy log our position would otherwise never reach an end asked for again and
        again.
        """
        return self._silent.next_us() <= now_us and self._used_up()

    def prove(self, proof: Proof) -> None:
        """Take the answer to a request for the ends of our logs; the next `take` makes use of it."""
        self._proof, self._passed = proof, frozenset()

    def acknowledged(self, window: Window, appended_us: int) -> None:
        """The broker has a final window of ours; appended_us is its append time."""
        self.coverage.emitted(window.session, appended_us)

    def floors(self) -> dict[str, int]:
        """What may be committed, by modality, once every effect so far is acknowledged and `to_cover` is empty.

        What admission makes unnecessary is let go of first.
        """
        firsts = {modality: held.first() for modality, held in self.aligner.held.items()}
        since_us = min(self._handed_us[m] if first is None else first[1] for m, first in firsts.items())
        for session in self.aligner.forget(since_us):
            self.coverage.forgotten(session)
        return {modality: self.aligner.floor(modality, position) for modality, position in self.positions.items()}

    def to_cover(self) -> list[Frontier]:
        """The frontier records that must be acknowledged before the floors are committed."""
        held = (held.first() for held in self.aligner.held.values())
        due = self.coverage.due(first[1] for first in held if first is not None)
        return [Frontier(session, self.aligner.frontiers[session], self.aligner.config) for session in due]

    def _other(
        self, modality: str, record: LogRecord, read: Tick | SessionEnd | Rejected, now_us: int, effects: Effects
    ) -> Iterable[str]:
        """Take a record that is no chunk; the sessions that it touched."""
        if isinstance(read, Tick) and not self._sealed(modality, record):
            read = Rejected(Reason.FORGED, "a tick that no tick_secret signed for this place")
        if isinstance(read, Tick):
            effects.windows += self.aligner.tick(modality, read, record.offset, record.timestamp * 1000, now_us)
            return read.bounds
        if isinstance(read, SessionEnd):
            self.aligner.end(modality, read)
            return (read.session,)
        self._dead(modality, record, "admission", read, effects)
        return ()

    def _sealed(self, modality: str, record: LogRecord) -> bool:
        topic = self._topics.media(modality)
        return self._seal.holds(topic, self.number, record.headers, record.value or b"")

    def _tell(self, modality: str, record: LogRecord, arrival: Arrival, fate: Fate, effects: Effects) -> None:
        chunk = arrival.chunk
        source = modality, chunk.source, chunk.appended_us // PERIOD_US
        behind_us = chunk.appended_us - chunk.t_us - chunk.duration_us
        if behind_us < effects.offsets_us.get(source, LONG_US):
            effects.offsets_us[source] = behind_us
        if fate is WINDOWED:
            effects.fates[modality, "windowed"] += 1
            effects.payloads.append(arrival)
        elif isinstance(fate, Rejected):
            self._dead(modality, record, "alignment", fate, effects)
        else:
            effects.fates[modality, name_of(fate)] += 1
            if isinstance(fate, Late):
                effects.late.append((chunk, fate))

    def _dead(self, modality: str, record: LogRecord, stage: Stage, rejected: Rejected, effects: Effects) -> None:
        effects.fates[modality, "dead"] += 1
        at = RecordPosition(self._topics.media(modality), self.number, record.offset)
        effects.dead.append((record.key, letter(at, stage, rejected, record.value, record.headers)))

    def _look(self, names: Sequence[str], now_us: int, effects: Effects, behind: bool) -> None:
        patience = self._patience.under(sum(map(len, self.aligner.held.values())))
        for name in names:
            session = self.aligner.sessions.get(name)
            if session is None:
                continue
            due_us = silence_due(session, self._semantics, patience)
            # Nothing else can have come due by a proof that is as old: a session is looked at for each batch of it.
            if due_us <= self._proof.asked_us or session.some_ended:
                effects.silences += silences(session, self._semantics, patience, self._proof, self.positions)
                due_us = silence_due(session, self._semantics, patience)
            for start in () if behind else early_starts(session, self._semantics, patience, now_us):
                effects.windows.append(self.aligner.early(session, start))
            self._early.set(name, early_due(session, self._semantics, patience))
            self._silent.set(name, due_us)

    def _used_up(self) -> bool:
        """True when the newest proof has shown all that it can."""
        return all(self._proof.passed(m, self.positions) for m in self._proof.ends)
