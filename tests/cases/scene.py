"""A scene in virtual time: fake logs and one or more real `Partition` objects, admission included.

All times in tests are in milliseconds since the start of the scene, on any clock. Settings are the
product's defaults: windows of 2 s every 0.5 s; lateness audio 300, video and text 500; idle timeouts audio 700, video
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
BOOT_US = 7_000_000_000  # the monotonic clock at the start of the scene


class Scene(Outcome):
    """The logs of one partition number, and its aligners; the last one is the owner."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 0.0
        self.frontiers: dict[bytes, LastEmittedWindow] = {}
        self.committed = dict.fromkeys(MODALITIES, 0)
        self.assignments = 0
        self.aligners = [self.new_owner()]

    def play(self, *plans: Iterable[Sent], until: float = 0) -> Scene:
        """Append each record at its time and process it at once; process timers when they are due."""
        for sent in _in_order(*plans):
            self.wait(sent.at)
            self.append(sent)
            self.process_all()
        self.wait(until)
        return self

    def wait(self, until: float) -> None:
        """Advance the clock without records; process timers when they are due."""
        while (due_ms := (min(a.next_deadline_us() for a in self.aligners) - BOOT_US) / 1000) <= until:
            self.now_ms = due_ms if due_ms > self.now_ms else self.now_ms + 1
            self.process_all()
        self.now_ms = max(until, self.now_ms)

    def append_unread(self, plan: Iterable[Sent], until: float) -> None:
        """Append records without processing them."""
        for sent in _in_order(plan):
            self.now_ms = sent.at
            self.append(sent)
        self.now_ms = until

    def append(self, sent: Sent) -> None:
        """Append a record now."""
        log = self.logs[sent.modality]
        log.append(record_of(sent, len(log), self.stamp()))

    def process_all(self) -> None:
        """Let every aligner read to the ends of the logs and process what is due."""
        for aligner in self.aligners:
            self.process_batch(aligner)
            while aligner.positions != self.ends():
                self.process_batch(aligner)

    def process_batch(self, aligner: Partition, upto: Mapping[str, int] | None = None) -> None:
        """Let one aligner process each log up to an offset, without `upto` up to its end."""
        ends, at = self.ends() if upto is None else upto, aligner.positions
        fetched = [[(m, record) for record in self.logs[m][at[m] : end]] for m, end in ends.items()]
        records = list(merge(*fetched, key=lambda item: item[1].timestamp))
        now_us = BOOT_US + round(self.now_ms * 1000)
        self._act(aligner, records, aligner.process(records, now_us))
        if aligner.needs_end_offsets(now_us):
            aligner.set_end_offsets(EndOffsets(now_us, self.ends()))
            self._act(aligner, [], aligner.process((), now_us))

    def commit(self) -> None:
        """Write the frontier records that are due, then commit the offsets of the owner."""
        offsets = self.commit_offsets()
        for frontier in self.owner.due_frontiers():
            key = last_emitted_window.key(frontier.generation_id, f"n{self.assignments}")
            self.frontiers[key] = frontier
            for old in self.owner.coverage.on_frontier_acknowledged(frontier.generation_id, frontier.start_us):
                if old != key:
                    self.frontiers.pop(old, None)
        self.committed = offsets

    def commit_offsets(self) -> dict[str, int]:
        """Return the offsets that the owner may commit; its clock is right."""
        return self.owner.commit_offsets(self.stamp() * 1000)

    def new_owner(self) -> Partition:
        """Return a new owner, restored from the logs."""
        times = [self.logs[m][at].timestamp for m, at in self.committed.items() if at < len(self.logs[m])]
        since_ms = min(times) - EPOCH_MS - TAIL_MS if times else self.now_ms + 1
        tail = [((EPOCH_MS + int(at)) * 1000, w) for at, w in self.windows if at >= since_ms]
        start = initial_state(dict(self.committed), list(self.frontiers.items()), tail, SEMANTICS.digest)
        self.assignments += 1
        return Partition(0, 1, SEMANTICS, PATIENCE, TOPICS, TAIL_MS * 1000, start)

    def restart(self) -> None:
        """Replace the owner by a new one that is restored from the logs."""
        self.aligners[-1] = self.new_owner()

    @property
    def owner(self) -> Partition:
        return self.aligners[-1]

    def _act(self, aligner: Partition, records: list[tuple[str, FakeRecord]], effects: Effects) -> None:
        for window in effects.windows:
            if window.final:  # no guarantee holds for early windows
                self.windows.append((self.now_ms, window))
                aligner.on_window_acknowledged(window, self.stamp() * 1000)
        fates = {(a.chunk.modality, a.chunk.offset): "windowed" for a in effects.payloads}
        fates |= {(chunk.modality, chunk.offset): "late" for chunk, _ in effects.late}
        for _, letter in effects.dead:
            self.dead.append((letter.position.topic, letter.position.offset, letter.rejected.reason, letter.stage))
            at = TOPICS.modality_of(letter.position.topic), letter.position.offset
            fates[at] = letter.rejected.reason
            if letter.stage == "admission":
                self.rejected.add(at)
        for modality, record in records:
            if record.key is not None and cloudevents.raw_type(record.headers) != cloudevents.SESSION_END_TYPE.encode():
                self.record_fate((modality, record.offset), fates.get((modality, record.offset), "duplicate"))
        for (_, source, _), offset_us in effects.clock_offsets_us.items():
            self.offsets_ms[source] = min(offset_us // 1000, self.offsets_ms.get(source, offset_us // 1000))
        ticks_by_log: dict[tuple[str, tick.TickEvidence], dict[str, int]] = {}
        for silent in effects.idle_markers:
            ticks_by_log.setdefault((silent.modality, silent.evidence), {})[silent.session] = silent.watermark_us
        for (modality, evidence), bounds in ticks_by_log.items():
            log = self.logs[modality]
            for value in tick.encode(bounds, evidence):
                log.append(FakeRecord(len(log), self.stamp(), None, value, tick.headers(value)))

    def stamp(self) -> int:
        """Return the time of the broker."""
        return EPOCH_MS + int(self.now_ms)


def _in_order(*plans: Iterable[Sent]) -> list[Sent]:
    return sorted((sent for plan in plans for sent in plan), key=lambda sent: sent.at)
