"""What is found of one prediction: its record, its window, and the media that it was made from.

Finds a prediction and what it was made from in the evidence that is kept of events.

Finds a prediction and what it was made from in the topics.

Finds a prediction and what it was made from in a recording.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.contract import canonical, cloudevents
from services.contract import window as window_record
from services.contract.cloudevents import Envelope
from services.contract.errors import EXIT_USAGE, BraidError
from services.contract.partitioner import partition_of
from services.contract.prediction import muted_of
from services.contract.record import Headers, KafkaRecord, MemberPosition, RecordPosition
from services.contract.topics import Topics
from services.contract.window import Member, Window, position_of
from services.kafka.log_reader import read_range
from services.offline.recording.reader import RecordingFile
from services.storage.archive import EventArchive
from services.storage.payload_cache import Payload


class InvalidPredictionId(BraidError):
    """A text that is not the id of a prediction."""

    exit_code = EXIT_USAGE

    def __init__(self, id: str) -> None:
        super().__init__(
            f'"{id}" is not a prediction id.',
            "Ids look like kitchen/1700000000000/1@0123456789ab (see `braid tail --json`).",
        )


@dataclass(frozen=True, slots=True)
class PredictionKey:
    """A prediction by its id: `session/window start in ms/revision@digest`."""

    id: str
    window_id: str
    session: str
    start_us: int


@dataclass(frozen=True, slots=True)
class MemberInput:
    """A member of the window and its record, None where that is gone or holds other bytes by now."""

    modality: str
    topic: str
    member: Member
    kept: KafkaRecord | None

    @property
    def payload(self) -> Payload | None:
        read = None if self.kept is None else cloudevents.unwrap(self.kept.headers, self.kept.value)
        return Payload(read.get("content-type"), read.payload) if isinstance(read, Envelope) else None


@dataclass(slots=True)
class PredictionEvidence:
    """The prediction's record; its window's, None where that is gone, and the members of that."""

    prediction: KafkaRecord
    window_record: KafkaRecord | None = None
    window: Window | None = None
    inputs: Sequence[MemberInput] = field(default_factory=list)

    @property
    def value(self) -> bytes:
        return self.prediction.value or b""

    @property
    def headers(self) -> Headers:
        return self.prediction.headers

    @property
    def record(self) -> dict[str, Any]:
        return canonical.loads_object(self.value)

    @property
    def is_complete(self) -> bool:
        """True where the window and all of its members are there; what was muted was not used."""
        muted = muted_of(self.record)
        return self.window is not None and all(i.kept is not None or i.modality in muted for i in self.inputs)

    @property
    def payloads(self) -> dict[MemberPosition, Payload]:
        """The payloads that are there, as inference takes them."""
        found = ((position_of(i.modality, i.member), i.payload) for i in self.inputs)
        return {place: payload for place, payload in found if payload is not None}


def parse_prediction_id(id: str) -> PredictionKey:
    """Read an id. Raises InvalidPredictionId."""
    window_id, at, _ = id.rpartition("@")
    session, *numbers = window_id.rsplit("/", 2)
    if not at or len(numbers) != 2 or not session or not numbers[0].lstrip("-").isdecimal():
        raise InvalidPredictionId(id)
    return PredictionKey(id, window_id, session, int(numbers[0]) * 1000)


def has_id(kept: KafkaRecord, id: str) -> bool:
    """True for the record of this id."""
    return id_of(kept) == id


def id_of(kept: KafkaRecord) -> str | None:
    """The id that a record states, None where it states none."""
    id = canonical.object_or_empty(kept.value).get("id")
    return id if isinstance(id, str) else None


def member_inputs(
    window: Window, media: Mapping[str, str], records: Mapping[RecordPosition, KafkaRecord]
) -> list[MemberInput]:
    """The members of a window with their records, by (topic, partition, offset); media: topic by modality."""
    out = []
    for modality, lane in window.modalities.items():
        for member in lane.members:
            topic = media.get(modality, "")
            kept = records.get(RecordPosition(topic, member.partition, member.offset))
            out.append(MemberInput(modality, topic, member, kept if kept is not None and _same(kept, member) else None))
    return out


def member_places(window: Window, media: Mapping[str, str]) -> set[RecordPosition]:
    """Where the records of a window's members stand."""
    return {
        RecordPosition(media[modality], member.partition, member.offset)
        for modality, lane in window.modalities.items()
        if modality in media
        for member in lane.members
    }


def find_in_records(
    predictions: Iterable[KafkaRecord],
    windows: Iterable[KafkaRecord],
    media: Callable[[set[RecordPosition]], Iterable[KafkaRecord]] | Sequence[KafkaRecord],
    topics: Topics,
    wanted: PredictionKey,
) -> PredictionEvidence | None:
    """What is found in records at hand, None without the prediction.

    media: records, those of the window among them, or how to get those at the places asked for.
    """
    found = next((kept for kept in predictions if has_id(kept, wanted.id)), None)
    if found is None or found.value is None:
        return None
    out = PredictionEvidence(found, next((kept for kept in windows if has_id(kept, wanted.window_id)), None))
    out.window = None if out.window_record is None else window_record.read(out.window_record.value)
    if out.window is not None:
        names = {modality: topics.media(modality) for modality in topics.modalities}
        at_hand = media(member_places(out.window, names)) if callable(media) else media
        out.inputs = member_inputs(out.window, names, {record.position: record for record in at_hand})
    return out


def _same(kept: KafkaRecord, member: Member) -> bool:
    """False where other bytes stand at the place: offsets begin anew on a new broker."""
    read = cloudevents.unwrap(kept.headers, kept.value)
    return isinstance(read, Envelope) and hashlib.sha256(read.payload).hexdigest() == member.sha256


def find_in_archive(store: EventArchive, topics: Topics, wanted: PredictionKey) -> PredictionEvidence | None:
    """The evidence, None where no event of the session was kept with this prediction."""
    for entry in store.entries_of(wanted.session):
        found = find_in_records(entry.predictions, entry.windows, entry.media, topics, wanted)
        if found is not None:
            return found
    return None


# Of one modality of one window: how many records of its partition are read to find its members.
SPAN_MAX = 100_000


async def find_in_log(
    reader: AIOKafkaConsumer, topics: Topics, partitions: int, future_us: int, wanted: PredictionKey
) -> PredictionEvidence | None:
    """The evidence, None where the predictions topic has no such prediction (any more). Raises KafkaError.

    No member is appended more than `future_us` before its own time, so nothing of a window stands before that.
    """
    number = partition_of(wanted.session.encode(), partitions)
    from_ms = (wanted.start_us - future_us) // 1000 - 1
    found = await _first(reader, TopicPartition(topics.predictions, number), from_ms, wanted.id)
    if found is None or found.value is None:
        return None
    out = PredictionEvidence(
        found, await _first(reader, TopicPartition(topics.windows, number), from_ms, wanted.window_id)
    )
    out.window = None if out.window_record is None else window_record.read(out.window_record.value)
    if out.window is None:
        return out
    media = {modality: topics.media(modality) for modality in topics.modalities}
    records: dict[RecordPosition, KafkaRecord] = {}
    for modality, lane in out.window.modalities.items():
        offsets = {member.offset for member in lane.members}
        if not offsets or modality not in media or max(offsets) - min(offsets) > SPAN_MAX:
            continue
        log = TopicPartition(media[modality], number)
        async for read in read_range(reader, log, min(offsets), max(offsets) + 1):
            if read.offset in offsets:
                records[RecordPosition(log.topic, number, read.offset)] = KafkaRecord.copy_of(read)
    out.inputs = member_inputs(out.window, media, records)
    return out


async def _first(reader: AIOKafkaConsumer, log: TopicPartition, from_ms: int, id: str) -> KafkaRecord | None:
    at = (await reader.offsets_for_times({log: max(from_ms, 0)}))[log]
    if at is None:
        return None
    async for record in read_range(reader, log, at.offset):
        kept = KafkaRecord.copy_of(record)
        if has_id(kept, id):
            return kept
    return None


def find_in_recording(file: RecordingFile, topics: Topics, wanted: PredictionKey) -> PredictionEvidence | None:
    """The evidence, None where the recording has no such prediction. Raises RecordingError."""

    def media(places: set[RecordPosition]) -> Iterator[KafkaRecord]:
        names, left = sorted({topic for topic, _, _ in places}), len(places)
        for kept in file.records(*names) if names else ():
            if kept.position in places:
                yield kept
                left -= 1
                if not left:
                    return

    return find_in_records(file.records(topics.predictions), file.records(topics.windows), media, topics, wanted)
