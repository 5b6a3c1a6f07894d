"""A world in virtual time: fake logs, several aligners, crashes and zombies around the real partition code.

One seed is one history. The aligners run `services.aligner.partition.Partition` whole, admission included; only the
broker, the clock and the scheduling are made here.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.aligner.partition import Effects, Partition
from services.aligner.patience import Patience, Proof
from services.aligner.start import start_from
from services.contract import envelope, frontier, tick
from services.contract.frontier import Frontier
from services.contract.semantics import Lateness, Semantics
from services.contract.topics import Topics
from services.contract.window import Window

UNIT_US = 1_000
EPOCH_US = 1_700_000_000_000_000
MODALITIES = ("audio", "text", "video")
SEMANTICS = Semantics(
    size_us=8 * UNIT_US,
    hop_us=4 * UNIT_US,
    lanes={
        "audio": Lateness(3 * UNIT_US, True),
        "text": Lateness(0, False),
        "video": Lateness(6 * UNIT_US, False),
    },
    future_us=10**18,
    stale_after_us=10**18,
)
PATIENCE = Patience({"audio": 30_000, "text": 40_000, "video": 30_000}, idle_us=80_000, early_us=5_000)
TOPICS = Topics(modalities=MODALITIES)
PCM_BYTES_PER_UNIT = 16  # 8 kHz, 16 bit: one millisecond
CRASHES_MAX = 40


class Crash(Exception):
    """The process is gone at this very point."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One record that a producer sends at a time: a point of text or video, or sound of some length."""

    at: int
    modality: str
    session: str
    id: str
    t: int
    length: int = 0
    content: int = 0
    alive: bool = False


@dataclass(frozen=True, slots=True)
class FakeRecord:
    """A record as a consumer sees it."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]


def record_of(sent: Sent, offset: int, timestamp: int) -> FakeRecord:
    """The record of what a producer sends, in the product's own envelope."""
    bodies = {
        "audio": bytes([sent.content, 1]) * (sent.length * PCM_BYTES_PER_UNIT // 2),
        "text": f"text {sent.content}".encode(),
        "video": b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x08\x00\x08\x03" + bytes([sent.content]) * 8,
    }
    types = {"audio": "audio/pcm;rate=8000;channels=1;format=s16le", "text": "text/plain", "video": "image/jpeg"}
    headers = envelope.build(
        session=sent.session,
        source=f"/devices/{sent.session}/{sent.modality}",
        id=sent.id,
        type=envelope.ALIVE_TYPE if sent.alive else envelope.media_type(sent.modality),
        t_us=EPOCH_US + sent.t * UNIT_US,
        content_type=types[sent.modality],
    )
    return FakeRecord(offset, timestamp, sent.session.encode(), b"" if sent.alive else bodies[sent.modality], headers)


@dataclass(slots=True)
class Broker:
    """The logs: media, windows (with append time), what was said late and dead, frontiers by key, committed floors."""

    media: dict[str, list[FakeRecord]] = field(default_factory=lambda: {m: [] for m in MODALITIES})
    windows: list[tuple[int, Window]] = field(default_factory=list)
    late: set[tuple[str, int]] = field(default_factory=set)
    dead: dict[tuple[str, int], str] = field(default_factory=dict)
    frontiers: dict[bytes, Frontier] = field(default_factory=dict)
    committed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(MODALITIES, 0))

    def ends(self) -> dict[str, int]:
        return {modality: len(log) for modality, log in self.media.items()}


class World:
    """One history: a plan of sent records, played against aligners that crash, overlap and start over."""

    def __init__(self, seed: int, plan: Sequence[Sent], *, zombies: bool) -> None:
        self.rng = random.Random(seed)
        self.plan = sorted(plan, key=lambda sent: sent.at)
        self.zombies = zombies
        self.broker = Broker()
        self.clock = 0
        self.crashes = 0
        self.nonces = 0
        self.tail = self.rng.choice([2, 10, 40])
        self.counts: Counter[str] = Counter()
        self.floors_seen: dict[str, list[int]] = defaultdict(list)
        self.processes = [self.fresh()]
        self.owner = 0

    @property
    def now_us(self) -> int:
        return self.clock * UNIT_US

    def fresh(self) -> Partition:
        """A new owner: everything it knows comes from the logs."""
        floors = self.broker.committed
        times = [self.broker.media[m][o].timestamp for m, o in floors.items() if o < len(self.broker.media[m])]
        since = min(times, default=self.clock) - self.tail
        tail = [(ms * 1000, window) for ms, window in self.broker.windows if ms >= since and window.final]
        start = start_from(dict(floors), list(self.broker.frontiers.items()), tail, SEMANTICS.config)
        self.nonces += 1
        partition = Partition(0, 1, SEMANTICS, PATIENCE, TOPICS, self.tail * 1000, start)
        self.nonce_of = {**getattr(self, "nonce_of", {}), id(partition): f"n{self.nonces}"}
        return partition

    def maybe_crash(self, chance: float) -> None:
        if self.crashes < CRASHES_MAX and self.rng.random() < chance:
            raise Crash

    def run(self, steps_max: int = 60_000) -> bool:
        """Play to the end; False where the floor got stuck (a window never closed, or a hold never released)."""
        for _ in range(steps_max):
            self.clock += 1
            self._produce()
            process = self.rng.choice(self.processes)
            try:
                self._step(process)
            except Crash:
                self.crashes += 1
                self.clock += self.rng.choice([0, 0, 0, 100])
                self.processes[self.processes.index(process)] = self.fresh()
            self._rebalance()
            if self._over():
                return True
        return False

    def _produce(self) -> None:
        while self.plan and self.plan[0].at * 2 <= self.clock and self.rng.random() < 0.5:
            sent = self.plan.pop(0)
            log = self.broker.media[sent.modality]
            log.append(record_of(sent, len(log), self.clock))

    def _step(self, process: Partition) -> None:
        ready = [m for m in MODALITIES if process.positions[m] < len(self.broker.media[m])]
        records: list[tuple[str, FakeRecord]] = []
        if ready and self.rng.random() < 0.8:
            modality = self.rng.choice(ready)
            at = process.positions[modality]
            count = self.rng.choice([1, 1, 2, 5])
            records = [(modality, record) for record in self.broker.media[modality][at : at + count]]
        if process.wants_proof(self.now_us):
            process.prove(Proof(self.now_us, self.broker.ends()))
        self.maybe_crash(0.03 if records else 0)
        effects = process.take(records, self.now_us)
        self._act(process, effects)
        if self.rng.random() < 0.2:
            self._tick_freely(process)
        if self.rng.random() < 0.3:
            self._commit(process)

    def _act(self, process: Partition, effects: Effects) -> None:
        for window in effects.windows:
            self.broker.windows.append((self.clock, window))
            if window.final:
                process.acknowledged(window, self.clock * 1000)
            self.maybe_crash(0.02)
        for chunk, _ in effects.late:
            self.broker.late.add((chunk.modality, chunk.offset))
            self.maybe_crash(0.02)
        for _, letter in effects.dead:
            self.broker.dead[TOPICS.modality_of(letter.at.topic), letter.at.offset] = letter.rejected.reason
            self.maybe_crash(0.02)
        for silent in effects.silences:
            self._write_tick(silent.modality, {silent.session: silent.bound_us}, silent.evidence)
        self.counts.update(fate for (_, fate), n in effects.fates.items() for _ in range(n))

    def _write_tick(self, modality: str, bounds: dict[str, int], evidence: tick.Silence) -> None:
        log = self.broker.media[modality]
        for value in tick.encode(bounds, evidence):
            log.append(FakeRecord(len(log), self.clock, None, value, tick.TICK_HEADERS))
        self.maybe_crash(0.01)

    def _tick_freely(self, process: Partition) -> None:
        """Whether and when to tick is free within the limit, so a tick may come at any time."""
        for modality in MODALITIES:
            bounds = {}
            for name, session in process.aligner.sessions.items():
                if session.starts:
                    limit_us = SEMANTICS.close_us(session.starts[-1], modality)
                    bound_us = limit_us - self.rng.choice([0, 1, 2]) * SEMANTICS.hop_us
                    if bound_us > session.lanes[modality].bound_us and self.rng.random() < 0.3:
                        bounds[name] = bound_us
            if bounds:
                self._write_tick(modality, bounds, "tick")

    def _commit(self, process: Partition) -> None:
        floors = process.floors()
        for told in process.to_cover():
            key = frontier.key(told.session, self.nonce_of[id(process)])
            self.broker.frontiers[key] = told
            self.maybe_crash(0.01)
            for old in process.coverage.covered(told.session, told.start_us):
                if old != key:
                    self.broker.frontiers.pop(old, None)
        if process is self.processes[self.owner]:  # a zombie's commit is refused, its records are not
            self.broker.committed = {m: max(floors[m], self.broker.committed[m]) for m in MODALITIES}

    def _rebalance(self) -> None:
        if self.zombies and self.rng.random() < 0.01 and self.crashes < CRASHES_MAX:
            self.crashes += 1
            self.processes, self.owner = [self.processes[self.owner], self.fresh()], 1
        elif len(self.processes) > 1 and self.rng.random() < 0.02:
            self.processes, self.owner = [self.processes[self.owner]], 0

    def _over(self) -> bool:
        if self.plan or len(self.processes) > 1:
            return False
        process = self.processes[0]
        return process.floors() == self.broker.ends() and not process.aligner.sessions
