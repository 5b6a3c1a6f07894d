"""The aligner's own partition code in virtual time: windows as they would come out live, as fast as records can be read.

`StreamDriver` plays a stream whose records get their positions here; `RecordingDriver` plays records that have theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from services.aligner.idleness import FOREVER_US, EndOffsets, IdleTimeouts
from services.aligner.partition import Effects, Partition, RecordError
from services.aligner.recovery import InitialState
from services.contract import cloudevents, tick
from services.contract.alignment_config import AlignmentConfig
from services.contract.chunk import Chunk
from services.contract.dead_letter import Reason
from services.contract.kafka_record import Headers, KafkaRecord, MemberPosition
from services.contract.session_reset import GenerationStart, split_generation_id
from services.contract.signature import Signer
from services.contract.topics import Topics
from services.contract.window import Window, window_id
from services.offline.evaluation.dataset import StreamRecord
from services.storage.payload_cache import Payload

UNSIGNED = Signer()


@dataclass(frozen=True, slots=True)
class TimedWindow:
    """A window and the virtual time (append clock, us) at which it comes out."""

    at_us: int
    window: Window


@dataclass(slots=True)
class _Clocked:
    """A partition and its clock (us)."""

    partition: Partition
    now_us: int = 0


@dataclass(slots=True)
class VirtualTimeDriver:
    """Feeds records to partitions, and lets time pass between them: idle records are written when they are due.

    Attributes:
        semantics: The alignment settings.
        idle_timeouts: How long silent streams are waited for.
        topics: The names of the topics.
        partitions: The partition count of every topic.
        frontiers: By partition, the start (us) of the last emitted window by generation id.
        writes_idle_records: False if idle records are among the records that are fed.
        signer: Verifies idle records that are fed.
        generations: By partition, where generations of sessions begin.
        payloads: What the windows that came out so far may need.
        late: The chunks that found no open window.
        fates: Why the chunk at a position is in no window.
    """

    semantics: AlignmentConfig
    idle_timeouts: IdleTimeouts
    topics: Topics
    partitions: int = 1
    frontiers: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    writes_idle_records: bool = True
    signer: Signer = UNSIGNED
    generations: Mapping[int, Sequence[GenerationStart]] = field(default_factory=dict)
    payloads: dict[MemberPosition, Payload] = field(default_factory=dict)
    late: list[Chunk] = field(default_factory=list)
    fates: dict[MemberPosition, str] = field(default_factory=dict)
    _clocked: dict[int, _Clocked] = field(default_factory=dict)

    @property
    def open_windows(self) -> set[str]:
        """The ids of the windows that are still open."""
        return {
            window_id(name, start_us, generation=generation)
            for clocked in self._clocked.values()
            for session in clocked.partition.aligner.sessions.values()
            for name, generation in (split_generation_id(session.name),)
            for start_us in session.starts
        }

    def release_payloads(self) -> None:
        """Drop the payloads that no open window needs; those of windows that came out must have been used."""
        first_needed = {
            (modality, number): retained.commit_offset(clocked.partition.positions[modality])
            for number, clocked in self._clocked.items()
            for modality, retained in clocked.partition.aligner.retained.items()
        }
        self.payloads = {
            position: payload
            for position, payload in self.payloads.items()
            if position.offset >= first_needed[position.modality, position.partition]
        }

    def _at(self, number: int) -> _Clocked:
        if number not in self._clocked:
            positions = dict.fromkeys(self.semantics.modalities, 0)
            generations = self.generations.get(number, ())
            start = InitialState(positions, self.frontiers.get(number, {}), {}, {}, generations)
            partition = Partition(
                number, self.partitions, self.semantics, self.idle_timeouts, self.topics, 0, start, self.signer
            )
            self._clocked[number] = _Clocked(partition)
        return self._clocked[number]

    def _feed(self, number: int, modality: str, record: KafkaRecord, now_us: int) -> Iterator[list[TimedWindow]]:
        """Hand one record to its partition; windows that come out together come together."""
        clocked = self._at(number)
        clocked.now_us = max(clocked.now_us, now_us)
        try:
            effects = clocked.partition.process([(modality, record)], clocked.now_us)
        except RecordError:
            self.fates[MemberPosition(modality, number, record.offset)] = Reason.ERROR.value
            return
        yield from self._apply(clocked, effects)

    def _advance(self, number: int, until_us: int) -> Iterator[list[TimedWindow]]:
        """Let the time of a partition pass up to a moment."""
        clocked = self._at(number)
        partition = clocked.partition
        while (due_us := partition.next_deadline_us()) < until_us:
            clocked.now_us = max(due_us, clocked.now_us)
            if partition.needs_end_offsets(clocked.now_us):
                partition.set_end_offsets(EndOffsets(clocked.now_us, dict(partition.positions)))
            yield from self._apply(clocked, partition.process((), clocked.now_us))

    def _apply(self, clocked: _Clocked, effects: Effects) -> Iterator[list[TimedWindow]]:
        number = effects.number
        for arrival in effects.payloads:
            chunk = arrival.chunk
            if not chunk.alive:
                position = MemberPosition(chunk.modality, number, chunk.offset)
                self.payloads[position] = Payload(arrival.content_type, arrival.payload)
        for chunk, _ in effects.late:
            self.late.append(chunk)
            self.fates[MemberPosition(chunk.modality, number, chunk.offset)] = "late"
        for _, letter in effects.dead:
            position = MemberPosition(self.topics.modality_of(letter.position.topic), number, letter.position.offset)
            self.fates[position] = letter.rejected.reason.value
        if effects.windows:
            yield [TimedWindow(clocked.now_us, window) for window in effects.windows]
        if self.writes_idle_records:
            for silent in effects.idle_markers:
                for value in tick.encode({silent.session: silent.watermark_us}, silent.evidence):
                    record = self._idle_record(clocked, silent.modality, value)
                    yield from self._feed(number, silent.modality, record, clocked.now_us)

    def _idle_record(self, clocked: _Clocked, modality: str, value: bytes) -> KafkaRecord:
        """An idle record between two records of a recording: it takes the offset of the one before it."""
        offset = clocked.partition.positions[modality] - 1
        return KafkaRecord(
            "", clocked.partition.number, offset, clocked.now_us // 1000, None, tick.headers(value), value
        )


class StreamDriver(VirtualTimeDriver):
    """Plays streams whose records are appended to the logs of one partition as they arrive.

    Attributes:
        records: The logs by modality, own idle records included.
    """

    def __init__(self, semantics: AlignmentConfig, idle_timeouts: IdleTimeouts) -> None:
        super().__init__(semantics, idle_timeouts, Topics(modalities=semantics.modalities))
        self.records: dict[str, list[KafkaRecord]] = {modality: [] for modality in semantics.modalities}

    def play(self, session: str, records: Iterable[StreamRecord], origin_us: int) -> Iterator[TimedWindow]:
        """Yield windows in the order in which they come out; origin_us: arrival clock of the stream's time 0."""
        key = session.encode()
        for record in records:
            arrived_us = origin_us + record.arrived_us
            for windows in self._advance(0, arrived_us):
                yield from windows
            appended = self._append(record.modality, arrived_us, key, record.value, record.headers)
            for windows in self._feed(0, record.modality, appended, arrived_us):
                yield from windows
        for windows in self._advance(0, FOREVER_US - 1):
            yield from windows

    def _append(self, modality: str, at_us: int, key: bytes | None, value: bytes, headers: Headers) -> KafkaRecord:
        log = self.records[modality]
        topic = self.topics.media(modality)
        log.append(KafkaRecord(topic, 0, len(log), at_us // 1000, key, headers, value))
        return log[-1]

    def _idle_record(self, clocked: _Clocked, modality: str, value: bytes) -> KafkaRecord:
        return self._append(modality, clocked.now_us, None, value, tick.headers(value))


class RecordingDriver(VirtualTimeDriver):
    """Plays the media records of a recording on the clock of their append times.

    Early windows are left out: what they hold depends on timing that no recording has.
    """

    def play(self, records: Iterable[KafkaRecord], until_us: int) -> Iterator[list[TimedWindow]]:
        """Yield lists of windows that come out together; after each the payloads may be released.

        Args:
            records: Records in the order of their append times.
            until_us: The end of the recording; time passes up to it.
        """
        self.idle_timeouts = replace(self.idle_timeouts, early_us=None)
        modalities = dict(zip(self.topics.media_all, self.topics.modalities, strict=True))
        for record in records:
            modality = modalities.get(record.topic)
            if modality is None or not 0 <= record.partition < self.partitions:
                continue
            appended_us = record.timestamp * 1000
            if self.writes_idle_records:
                if record.key is None and cloudevents.raw_type(record.headers) == tick.TICK_TYPE.encode():
                    continue
                yield from self._advance(record.partition, appended_us)
            yield from self._feed(record.partition, modality, record, appended_us)
        if self.writes_idle_records:
            for number in sorted(self._clocked):
                yield from self._advance(number, until_us)
