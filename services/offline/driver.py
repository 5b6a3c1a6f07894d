"""Plays records through the aligner's own partition code in virtual time: windows as they would come out live."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from services.aligner.idleness import LONG_US, Patience, Proof
from services.aligner.partition import Effects, Partition
from services.aligner.recovery import Start
from services.contract import tick
from services.contract.alignment_config import Semantics
from services.contract.chunk import Chunk
from services.contract.record import Headers, KafkaRecord
from services.contract.topics import Topics
from services.contract.window import Window
from services.offline.evaluation.dataset import StreamRecord

TAIL_US = 60_000_000


@dataclass(frozen=True, slots=True)
class Out:
    """A window and the moment (arrival clock, us) of what let it out."""

    at_us: int
    window: Window


class OfflineLog:
    """The media logs of one partition number, filled from sendings and from the aligner's own ticks.

    late: the chunks that found no window open.
    """

    def __init__(self, semantics: Semantics, patience: Patience) -> None:
        self.records: dict[str, list[KafkaRecord]] = {m: [] for m in semantics.modalities}
        self.late: list[Chunk] = []
        start = Start(dict.fromkeys(semantics.modalities, 0), {}, {}, {})
        self._now_us = 0
        self._topics = Topics(modalities=semantics.modalities)
        self._partition = Partition(0, 1, semantics, patience, self._topics, TAIL_US, start)

    def play(self, session: str, sendings: Sequence[StreamRecord], origin_us: int) -> Iterator[Out]:
        """Windows in the order in which they come out; origin_us: arrival clock of the sendings' time 0."""
        key = session.encode()
        for sending in sendings:
            arrives_us = origin_us + sending.arrived_us
            yield from self._until(arrives_us)
            record = self._append(sending.modality, arrives_us, key, sending.value, sending.headers)
            yield from self._act(self._partition.take([(sending.modality, record)], arrives_us), arrives_us)
        yield from self._until(LONG_US - 1)

    def _until(self, time_us: int) -> Iterator[Out]:
        """Let time pass: silences are written when they are due."""
        while (due_us := self._partition.next_us()) < time_us:
            now_us = max(due_us, self._now_us)
            if self._partition.wants_proof(now_us):
                self._partition.prove(Proof(now_us, {m: len(log) for m, log in self.records.items()}))
            yield from self._act(self._partition.take((), now_us), now_us)

    def _act(self, effects: Effects, now_us: int) -> Iterator[Out]:
        self._now_us = now_us
        self.late += [chunk for chunk, _ in effects.late]
        for window in effects.windows:
            yield Out(now_us, window)
        for silent in effects.silences:
            for value in tick.encode({silent.session: silent.bound_us}, silent.evidence):
                record = self._append(silent.modality, now_us, None, value, tick.headers(value))
                yield from self._act(self._partition.take([(silent.modality, record)], now_us), now_us)

    def _append(self, modality: str, at_us: int, key: bytes | None, value: bytes, headers: Headers) -> KafkaRecord:
        log = self.records[modality]
        log.append(KafkaRecord(self._topics.media(modality), 0, len(log), at_us // 1000, key, headers, value))
        return log[-1]
