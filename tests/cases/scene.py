"""A scene in virtual time: fake logs and the real `Partition`, admission included, one or more of them.

Every time that a test writes or reads is in milliseconds since the scene began, on whichever clock. Settings are the
product's defaults: windows of 2 s every 0.5 s; lateness audio 300, video and text 500; patience audio 700, video
1000, text 1500; idle 3000. A session has the modalities that its name spells: "av" audio and video, "v" video alone,
"avt" and any other name all three.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import merge

from services.aligner.idleness import EndOffsets, IdleTimeouts
from services.aligner.partition import Effects, Partition
from services.aligner.recovery import initial_state
from services.contract import cloudevents, last_emitted_window, tick
from services.contract.last_emitted_window import LastEmittedWindow
from services.contract.topics import Topics
from tests.cases.devices import EPOCH_MS, Sent, record_of
from tests.cases.outcome import MODALITIES, SEMANTICS, Outcome
from tests.simulation.broker import FakeRecord

PATIENCE = IdleTimeouts(
    {"audio": 700_000, "video": 1_000_000, "text": 1_500_000}, session_us=3_000_000, early_us=300_000
)
TOPICS = Topics()
TAIL_MS = 60_000
BOOT_US = 7_000_000_000  # where the monotonic clock stands when the scene begins


class Scene(Outcome):
    """The logs of one partition number, and the aligners at work on them; the last one is the owner."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0.0
        self.frontiers: dict[bytes, LastEmittedWindow] = {}
        self.committed = dict.fromkeys(MODALITIES, 0)
        self.assignments = 0
        self.aligners = [self.fresh()]

    def play(self, *plans: Iterable[Sent], until: float = 0) -> Scene:
        """Each record comes at its time and is read at once; what becomes due in between is done when it is due."""
        for sent in _in_order(*plans):
            self.wait(sent.at)
            self.append(sent)
            self.turn()
        self.wait(until)
        return self

    def wait(self, until: float) -> None:
        """Nothing is sent until then."""
        while (due_ms := (min(a.next_deadline_us() for a in self.aligners) - BOOT_US) / 1000) <= until:
            self.now_ms = due_ms if due_ms > self.now_ms else self.now_ms + 1
            self.turn()
        self.now_ms = max(until, self.now_ms)

    def grow(self, plan: Iterable[Sent], until: float) -> None:
        """The logs grow and nobody reads them."""
        for sent in _in_order(plan):
            self.now_ms = sent.at
            self.append(sent)
        self.now_ms = until

    def append(self, sent: Sent) -> None:
        """The broker takes a record, now."""
        log = self.logs[sent.modality]
        log.append(record_of(sent, len(log), self.stamp()))

    def turn(self) -> None:
        """Every aligner reads to the ends of the logs, and does what is due."""
        for aligner in self.aligners:
            self.batch(aligner)
            while aligner.positions != self.ends():
                self.batch(aligner)

    def batch(self, aligner: Partition, upto: Mapping[str, int] | None = None) -> None:
        """One aligner takes what it has fetched: of each log up to an offset, without `upto` all of it."""
        ends, at = self.ends() if upto is None else upto, aligner.positions
        fetched = [[(m, record) for record in self.logs[m][at[m] : end]] for m, end in ends.items()]
        records = list(merge(*fetched, key=lambda item: item[1].timestamp))
        now_us = BOOT_US + round(self.now_ms * 1000)
        self._act(aligner, records, aligner.process(records, now_us))
        if aligner.needs_end_offsets(now_us):
            aligner.set_end_offsets(EndOffsets(now_us, self.ends()))
            self._act(aligner, [], aligner.process((), now_us))

    def commit(self) -> None:
        """The owner commits its floors, once the frontier records that they rely on are written."""
        floors = self.owner.commit_offsets()
        for told in self.owner.due_frontiers():
            key = last_emitted_window.key(told.session, f"n{self.assignments}")
            self.frontiers[key] = told
            for old in self.owner.coverage.on_frontier_acknowledged(told.session, told.start_us):
                if old != key:
                    self.frontiers.pop(old, None)
        self.committed = floors

    def fresh(self) -> Partition:
        """A new owner: all that it knows comes from the logs."""
        times = [self.logs[m][at].timestamp for m, at in self.committed.items() if at < len(self.logs[m])]
        since_ms = min(times) - EPOCH_MS - TAIL_MS if times else self.now_ms + 1
        tail = [((EPOCH_MS + int(at)) * 1000, w) for at, w in self.windows if at >= since_ms]
        start = initial_state(dict(self.committed), list(self.frontiers.items()), tail, SEMANTICS.digest)
        self.assignments += 1
        return Partition(0, 1, SEMANTICS, PATIENCE, TOPICS, TAIL_MS * 1000, start)

    def restart(self) -> None:
        """The owner is gone, with all that it knew."""
        self.aligners[-1] = self.fresh()

    @property
    def owner(self) -> Partition:
        return self.aligners[-1]

    def _act(self, aligner: Partition, records: list[tuple[str, FakeRecord]], effects: Effects) -> None:
        for window in effects.windows:
            if window.final:  # an early answer is exempt from every promise
                self.windows.append((self.now_ms, window))
                aligner.on_window_acknowledged(window, self.stamp() * 1000)
        fates = {(a.chunk.modality, a.chunk.offset): "windowed" for a in effects.payloads}
        fates |= {(chunk.modality, chunk.offset): "late" for chunk, _ in effects.late}
        for _, letter in effects.dead:
            self.dead.append((letter.position.topic, letter.position.offset, letter.rejected.reason, letter.stage))
            at = TOPICS.modality_of(letter.position.topic), letter.position.offset
            fates[at] = letter.rejected.reason
            if letter.stage == "admission":
                self.refused.add(at)
        for modality, record in records:
            if record.key is not None and cloudevents.raw_type(record.headers) != cloudevents.SESSION_END_TYPE.encode():
                self.tell((modality, record.offset), fates.get((modality, record.offset), "duplicate"))
        for (_, source, _), offset_us in effects.clock_offsets_us.items():
            self.offsets_ms[source] = min(offset_us // 1000, self.offsets_ms.get(source, offset_us // 1000))
        said: dict[tuple[str, tick.TickEvidence], dict[str, int]] = {}
        for silent in effects.idle_markers:
            said.setdefault((silent.modality, silent.evidence), {})[silent.session] = silent.watermark_us
        for (modality, evidence), bounds in said.items():
            log = self.logs[modality]
            for value in tick.encode(bounds, evidence):
                log.append(FakeRecord(len(log), self.stamp(), None, value, tick.headers(value)))

    def stamp(self) -> int:
        """The broker's clock."""
        return EPOCH_MS + int(self.now_ms)


def _in_order(*plans: Iterable[Sent]) -> list[Sent]:
    return sorted((sent for plan in plans for sent in plan), key=lambda sent: sent.at)
