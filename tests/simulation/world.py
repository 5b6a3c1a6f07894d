"""A world in virtual time: fake logs and a fake Redis around the real aligner and fusion logic, with crashes and zombies.

One seed is one history. The aligners run `services.aligner.partition.Partition` whole, admission included, the fusion
workers the product's own folds; only the broker, the clock, the model and the scheduling are made here.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from functools import partial

from services.aligner.idleness import EndOffsets, IdleTimeouts
from services.aligner.partition import Effects, Partition
from services.aligner.recovery import initial_state
from services.contract import last_emitted_window, session_reset, tick
from services.contract.alignment_config import AlignmentConfig, Quotas, StreamConfig
from services.contract.session_reset import SessionReset
from services.contract.topics import Topics
from tests.simulation.broker import EPOCH_MS, MODALITIES, UNIT_US, Broker, FakeRecord, SentRecord, record_of
from tests.simulation.fuser import FusionWorker

PATIENCE = IdleTimeouts({"audio": 30_000, "text": 40_000, "video": 30_000}, session_us=80_000, early_us=5_000)
TOPICS = Topics(modalities=MODALITIES)
CRASHES_MAX = 40
AHEAD = 5_000  # further than every `stale_after_us` that is reached
FUTURE_US = 2_500 * UNIT_US
# In each hop three records, 100 bytes or two frames of a source, two sources, 150 bytes and three frames of a session. In
# 40 units of append time a source may send to one session.
QUOTAS = Quotas(
    source_records_per_s=750,
    source_bytes_per_s=25_000,
    source_pixels_per_s=4_000,
    session_bytes_per_s=37_500,
    session_pixels_per_s=6_000,
    session_sources_max=2,
    source_sessions_max=1,
)


def semantics(
    stale_after_us: int = 10**18, quotas: Quotas | None = None, lead_us: int | None = None
) -> AlignmentConfig:
    """Return windows of 8 units every 4 units, with a different lateness for each modality."""
    lanes = {
        "audio": StreamConfig(3 * UNIT_US, True),
        "text": StreamConfig(0, False),
        "video": StreamConfig(6 * UNIT_US, False),
    }
    return AlignmentConfig(
        size_us=8 * UNIT_US,
        hop_us=4 * UNIT_US,
        streams=lanes,
        future_us=FUTURE_US,
        lead_us=lead_us,
        stale_after_us=stale_after_us,
        members_max=6,
        # Five members by their bytes in the record.
        window_bytes_max=3 * 1_700,
        quotas=quotas,
        event_gap_us=40 * UNIT_US,
    )


class Crash(Exception):
    """The process is killed at this point."""


class World:
    """One history: sent records, and aligners and workers that crash, overlap and restart."""

    def __init__(self, seed: int, plan: Sequence[SentRecord], *, zombies: bool) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.plan = sorted(plan, key=lambda sent: sent.at)
        self.zombies = zombies
        self.broker = Broker()
        self.clock = 0
        self.ahead = 0
        self.jumps = self.rng.random() < 0.3
        self.crashes = 0
        self.tail = self.rng.choice([2, 10, 40])
        self.semantics = semantics(
            self.rng.choice([10**18, 10**18, 700 * UNIT_US, 2_000 * UNIT_US]),
            self.rng.choice([None, QUOTAS, QUOTAS]),
            self.rng.choice([None, 0, 5 * UNIT_US, 50 * UNIT_US]),
        )
        # Draws of its own, so that histories without resets are those of their seeds.
        self.reset_rng = random.Random(f"resets {seed}")
        self.sessions = sorted({sent.session for sent in plan}) if self.reset_rng.random() < 0.4 else []
        self.unwritten_resets: list[tuple[str, SessionReset]] = []
        self.counts: Counter[str] = Counter()
        # By modality: the offset up to which some process, perhaps one that crashed, has read.
        self.fetched: Counter[str] = Counter()
        # By modality: offsets deleted before they were read, and how many of these were noticed.
        self.deleted: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.nonces: dict[int, str] = {}
        self.processes = [self.new_owner()]
        self.owner = 0
        self.fusers = [self.new_fusion_worker()]

    @property
    def now_us(self) -> int:
        return self.clock * UNIT_US

    @property
    def wall_us(self) -> int:
        """The wall clock of the aligners, which is right."""
        return (EPOCH_MS + self.clock) * 1000

    @property
    def now_ms(self) -> int:
        """The clock of the broker, which jumps ahead now and then."""
        return EPOCH_MS + self.clock + self.ahead

    def new_owner(self) -> Partition:
        """Return a new owner of the partition, restored from the logs."""
        media, floors, lost = self.broker.media, {}, False
        for modality, committed in self.broker.committed.items():
            floors[modality] = max(committed, media[modality].begin)
            lost |= self.count_lost(modality, committed)
        times = [record.timestamp for m, o in floors.items() if (record := media[m].first(o)) is not None]
        # If the record at a commit was deleted, its time is unknown, and all windows are read.
        since = 0 if lost else min(times, default=self.now_ms) - self.tail
        # As the broker answers: everything from the first record on that is at or after this time.
        begin = next((at for at, (ms, _) in enumerate(self.broker.windows) if ms >= since), len(self.broker.windows))
        tail = [(ms * 1000, window) for ms, window in self.broker.windows[begin:] if window.final]
        generations = list(self.broker.generations.values())
        start = initial_state(floors, list(self.broker.frontiers.items()), tail, self.semantics.digest, generations)
        partition = Partition(0, 1, self.semantics, PATIENCE, TOPICS, self.tail * 1000, start)
        self.count_open_sessions(partition)
        self.nonces[id(partition)] = f"n{len(self.nonces)}"
        return partition

    def count_open_sessions(self, partition: Partition) -> None:
        """Read all that was read before a commit once more; records that retention deleted since then are still there."""
        for modality, position in partition.positions.items():
            for record in self.broker.media[modality].records:
                if record.offset < position:
                    partition.count_earlier(modality, record)

    def new_fusion_worker(self) -> FusionWorker:
        """Return a new fusion worker."""
        return FusionWorker(self.broker, self.tail, self.semantics.future_us)

    def maybe_crash(self, chance: float) -> None:
        if self.crashes < CRASHES_MAX and self.rng.random() < chance:
            raise Crash

    def run(self, steps_max: int = 60_000) -> bool:
        """Play to the end; return False if commits got stuck (a window never closed, or an offset was never released)."""
        for _ in range(steps_max):
            self.clock += 1
            self._jump()
            self._produce()
            self._reset_sessions()
            if self.rng.random() < 0.01:
                self.broker.redis.clear()
            self._turn()
            self._fuse()
            self._rebalance()
            if self._over():
                return True
        return False

    def _jump(self) -> None:
        """Let the broker's clock be far ahead for a few steps."""
        if self.ahead and self.rng.random() < 0.3:
            self.ahead = 0
        elif self.jumps and self.rng.random() < 0.01:
            self.ahead = AHEAD

    def _produce(self) -> None:
        while self.plan and self.plan[0].at * 2 <= self.clock and self.rng.random() < 0.5:
            sent = self.plan.pop(0)
            log = self.broker.media[sent.modality]
            in_transaction = self.rng.random() < (0.5 if log.transaction else 0.05)
            log.append(partial(record_of, sent, timestamp=self.now_ms), in_transaction=in_transaction)
            if self.rng.random() < 0.1:
                log.skip(self.rng.choice([1, 1, 3]))
        for log in self.broker.media.values():
            if log.transaction and self.rng.random() < 0.05:
                log.end_transaction(commit=self.rng.random() < 0.7)
        if self.rng.random() < 0.1:
            self._delete_unread(self.rng.choice(MODALITIES))

    def _reset_sessions(self) -> None:
        """Reset a session now and then: log by log, perhaps in some logs only and then in all of them once more."""
        rng = self.reset_rng
        if self.unwritten_resets and rng.random() < 0.2:
            modality, reset = self.unwritten_resets.pop(0)
            value = session_reset.encode(reset)
            headers = session_reset.headers(value)
            self.broker.media[modality].append(
                partial(FakeRecord, timestamp=self.now_ms, key=None, value=value, headers=headers)
            )
        elif self.sessions and self.plan and not self.unwritten_resets and rng.random() < 0.01:
            session = rng.choice(self.sessions)
            for number in range(rng.choice([1, 1, 2])):
                reset = SessionReset(session, EPOCH_MS + self.clock + number)
                self.unwritten_resets += [(modality, reset) for modality in rng.sample(MODALITIES, 3)]
                if number == 1:
                    # The one before it was interrupted.
                    del self.unwritten_resets[rng.choice([1, 2]) : 3]

    def _delete_unread(self, modality: str) -> None:
        """Delete records that nobody has ever read; those that were read are needed to know the right windows."""
        log, read = self.broker.media[modality], self.broker.committed[modality]
        if (
            self.fetched[modality] > read
            or any(p.positions[modality] != read for p in self.processes)
            or max(read, log.begin) == log.end
        ):
            return
        before = self.rng.randint(max(read, log.begin) + 1, log.end)
        self.deleted[modality] += before - max(read, log.begin)
        log.delete(read, before)

    def count_lost(self, modality: str, position: int) -> bool:
        """Count the offsets that were deleted before they were read, as every consumer does."""
        lost = max(self.broker.media[modality].begin - position, 0)
        self.lost[modality] += lost
        return lost > 0

    def _turn(self) -> None:
        process = self.rng.choice(self.processes)
        try:
            self.step(process)
        except Crash:
            self._crashed()
            self.processes[self.processes.index(process)] = self.new_owner()

    def _fuse(self) -> None:
        fuser = self.rng.choice(self.fusers)
        try:
            if fuser.position < len(self.broker.windows) and self.rng.random() < 0.5:
                fuser.step(self.now_ms, self.rng.choice([1, 2, 9]), lambda: self.maybe_crash(0.03))
            if self.rng.random() < 0.2 and fuser is self.fusers[-1]:
                self.broker.predicted_to = max(fuser.position, self.broker.predicted_to)
        except Crash:
            self._crashed()
            self.fusers[self.fusers.index(fuser)] = self.new_fusion_worker()

    def _crashed(self) -> None:
        self.crashes += 1
        self.clock += self.rng.choice([0, 0, 0, 100])

    def step(self, process: Partition) -> None:
        """Let an aligner process some records, carry out the effects, and perhaps commit."""
        ready = [m for m in MODALITIES if process.positions[m] < self.broker.media[m].end]
        records: list[tuple[str, FakeRecord]] = []
        positions: dict[str, int] = {}
        if ready and self.rng.random() < 0.8:
            modality = self.rng.choice(ready)
            at = process.positions[modality]
            self.count_lost(modality, at)
            fetched, positions[modality] = self.broker.media[modality].fetch(at, self.rng.choice([1, 1, 2, 5]))
            records = [(modality, record) for record in fetched]
            self.fetched[modality] = max(positions[modality], self.fetched[modality])
        if process.needs_end_offsets(self.now_us):
            process.set_end_offsets(EndOffsets(self.now_us, self.broker.ends()))
        self.maybe_crash(0.03 if records else 0)
        effects = process.process(records, self.now_us, positions=positions)
        self.act(process, effects)
        if self.rng.random() < 0.2:
            self._tick_freely(process)
        if self.rng.random() < 0.3:
            self.commit(process)

    def act(self, process: Partition, effects: Effects) -> None:
        """Carry out effects in order; the process may crash after each."""
        if self.rng.random() < 0.95:  # with Redis down, payloads are read from the log
            self.broker.redis.update(((a.chunk.modality, 0, a.chunk.offset), a.payload) for a in effects.payloads)
        for chunk, _ in effects.late:
            self.broker.late.add((chunk.modality, chunk.offset))
            self.maybe_crash(0.02)
        for _, letter in effects.dead:
            self.broker.dead[TOPICS.modality_of(letter.position.topic), letter.position.offset] = letter.rejected.reason
            self.maybe_crash(0.02)
        for window in effects.windows:
            self.broker.append_window(self.now_ms, window)
            self.maybe_crash(0.01)  # the broker has the record, the acknowledgement is lost
            if self.rng.random() < 0.01:
                # The acknowledgement was lost, so the record is sent again.
                self.broker.append_window(self.now_ms, window)
            if window.final:
                process.on_window_acknowledged(window, self.now_ms * 1000)
            self.maybe_crash(0.01)
        for silent in effects.idle_markers:
            self.write_tick(silent.modality, {silent.session: silent.watermark_us}, silent.evidence)
        self.counts.update(fate for (_, fate), n in effects.fates.items() for _ in range(n))

    def write_tick(self, modality: str, bounds: dict[str, int], evidence: tick.TickEvidence) -> None:
        """Append an idle record to the log of its modality."""
        log = self.broker.media[modality]
        for value in tick.encode(bounds, evidence):
            log.append(partial(FakeRecord, timestamp=self.now_ms, key=None, value=value, headers=tick.headers(value)))
        self.maybe_crash(0.01)

    def _tick_freely(self, process: Partition) -> None:
        """Write an idle record at a random time: within the limit the aligner is free to choose when."""
        for modality in MODALITIES:
            bounds = {}
            for name, session in process.aligner.sessions.items():
                if session.starts:
                    limit_us = self.semantics.closing_watermark_us(session.starts[-1], modality)
                    bound_us = limit_us - self.rng.choice([0, 1, 2]) * self.semantics.hop_us
                    if bound_us > session.streams[modality].watermark_us and self.rng.random() < 0.3:
                        bounds[name] = bound_us
            if bounds:
                self.write_tick(modality, bounds, "tick")

    def commit(self, process: Partition) -> None:
        """Write frontiers and generations, then commit; a zombie's commit is rejected, its records are not."""
        floors = process.commit_offsets(self.wall_us)
        starts = process.due_generations()
        for start in starts:
            self.broker.generations[session_reset.start_key(start)] = start
            self.maybe_crash(0.01)
        process.on_generations_acknowledged(starts)
        for record in process.due_frontiers():
            key = last_emitted_window.key(record.generation_id, self.nonces[id(process)])
            self.broker.frontiers[key] = record
            self.maybe_crash(0.01)
            for old in process.coverage.on_frontier_acknowledged(record.session, record.start_us):
                if old != key:
                    self.broker.frontiers.pop(old, None)
        if process is self.processes[self.owner]:
            self.broker.commit(floors)

    def _rebalance(self) -> None:
        if self.zombies and self.rng.random() < 0.01 and self.crashes < CRASHES_MAX:
            self.crashes += 1
            self.processes, self.owner = [self.processes[self.owner], self.new_owner()], 1
            self.fusers = [self.fusers[-1], self.new_fusion_worker()]
        elif len(self.processes) > 1 and self.rng.random() < 0.02:
            self.processes, self.owner = [self.processes[self.owner]], 0
            self.fusers = self.fusers[-1:]

    def _over(self) -> bool:
        if (
            self.plan
            or self.unwritten_resets
            or len(self.processes) > 1
            or self.fusers[0].position < len(self.broker.windows)
        ):
            return False
        if any(log.transaction for log in self.broker.media.values()):
            return False
        process = self.processes[0]
        return process.commit_offsets(self.wall_us) == self.broker.ends() and not process.aligner.sessions
