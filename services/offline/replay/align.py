"""Recorded media logs through the aligner's own partition code, on the clock of the recorded append times."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from services.aligner.idleness import Proof
from services.aligner.partition import Effects, Partition
from services.aligner.recovery import Start
from services.contract import cloudevents, tick
from services.contract.record import KafkaRecord, MemberPosition
from services.contract.window import Window
from services.offline.replay.settings import ReplaySettings
from services.storage.payload_cache import Payload


@dataclass(frozen=True, slots=True)
class Out:
    """A final window and the moment (append clock, us) at which it comes out."""

    at_us: int
    window: Window


@dataclass(slots=True)
class _Played:
    """One partition number: its state and its clock (us)."""

    partition: Partition
    now_us: int = 0


class Alignment:
    """Final windows of a recording under given settings.

    payloads: what windows that came out may need, kept until `release`; refused: why a chunk at a place is in no window;
    open: ids of the windows that are open still.
    """

    def __init__(self, under: ReplaySettings, frontiers: Mapping[int, Mapping[str, int]]) -> None:
        self._under, self._frontiers = under, frontiers
        self._played: dict[int, _Played] = {}
        self.payloads: dict[MemberPosition, Payload] = {}
        self.refused: dict[MemberPosition, str] = {}
        # What an early answer holds depends on timing that no recording has.
        self._patience = replace(under.patience, early_us=None)

    def play(self, records: Iterable[KafkaRecord], until_us: int) -> Iterator[list[Out]]:
        """Take media records in the order of their append times, then let time pass to the end of the recording.

        Windows come together that come out together: after each lot the payloads may be released.
        """
        topics, own_ticks = self._under.topics, self._under.own_ticks
        known = dict(zip(topics.media_all, topics.modalities, strict=True))
        for record in records:
            modality = known.get(record.topic)
            if modality is None or not 0 <= record.partition < self._under.partitions:
                continue
            played = self._of(record.partition)
            if own_ticks:
                if record.key is None and cloudevents.type_of(record.headers) == tick.TICK_TYPE.encode():
                    continue
                yield from self._until(played, record.timestamp * 1000)
            played.now_us = max(played.now_us, record.timestamp * 1000)
            yield from self._act(played, played.partition.take([(modality, record)], played.now_us))
        for number in sorted(self._played):
            if own_ticks:
                yield from self._until(self._played[number], until_us)

    @property
    def open(self) -> set[str]:
        return {
            f"{session.name}/{start_us // 1000}/1"
            for played in self._played.values()
            for session in played.partition.aligner.sessions.values()
            for start_us in session.starts
        }

    def release(self) -> None:
        """Let go of the payloads that no open window needs; those of windows that came out must have been used."""
        floors = {
            (modality, number): held.floor(played.partition.positions[modality])
            for number, played in self._played.items()
            for modality, held in played.partition.aligner.held.items()
        }
        self.payloads = {
            place: payload
            for place, payload in self.payloads.items()
            if place.offset >= floors[place.modality, place.partition]
        }

    def _of(self, number: int) -> _Played:
        if number not in self._played:
            u = self._under
            start = Start(dict.fromkeys(u.semantics.modalities, 0), self._frontiers.get(number, {}), {}, {})
            partition = Partition(number, u.partitions, u.semantics, self._patience, u.topics, 0, start)
            self._played[number] = _Played(partition)
        return self._played[number]

    def _until(self, played: _Played, time_us: int) -> Iterator[list[Out]]:
        """Let time pass: silences are written when they are due."""
        partition = played.partition
        while (due_us := partition.next_us()) < time_us:
            played.now_us = max(due_us, played.now_us)
            if partition.wants_proof(played.now_us):
                partition.prove(Proof(played.now_us, dict(partition.positions)))
            yield from self._act(played, partition.take((), played.now_us))

    def _act(self, played: _Played, effects: Effects) -> Iterator[list[Out]]:
        number = effects.number
        for arrival in effects.payloads:
            chunk = arrival.chunk
            if not chunk.alive:
                self.payloads[MemberPosition(chunk.modality, number, chunk.offset)] = Payload(
                    arrival.content_type, arrival.payload
                )
        for chunk, _ in effects.late:
            self.refused[MemberPosition(chunk.modality, number, chunk.offset)] = "late"
        for _, letter in effects.dead:
            modality = self._under.topics.modality_of(letter.at.topic)
            self.refused[MemberPosition(modality, number, letter.at.offset)] = letter.rejected.reason.value
        if effects.windows:
            yield [Out(played.now_us, window) for window in effects.windows]
        if not self._under.own_ticks:
            return
        for silent in effects.silences:
            for value in tick.encode({silent.session: silent.bound_us}, silent.evidence):
                # A tick of ours stands between two records: it takes the place of the one before it.
                offset = played.partition.positions[silent.modality] - 1
                record = KafkaRecord("", number, offset, played.now_us // 1000, None, tick.headers(value), value)
                yield from self._act(played, played.partition.take([(silent.modality, record)], played.now_us))
