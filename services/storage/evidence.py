"""The evidence of a prediction, by its id: its record, its window and the records of the window's members."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.contract import canonical, cloudevents
from services.contract import window as window_record
from services.contract.cloudevents import Envelope
from services.contract.kafka_record import Headers, KafkaRecord, MemberPosition, RecordPosition
from services.contract.partitioner import partition_of
from services.contract.prediction import decode, decode_or_none, muted_modalities
from services.contract.topics import Topics
from services.contract.user_errors import EXIT_USAGE, BraidError
from services.contract.window import Member, Window, position_of
from services.kafka.log_reader import read_range
from services.storage.archive import EventArchive
from services.storage.payload_cache import Payload

# The widest range of offsets that is read to find the members of windows in one media log.
SPAN_MAX = 100_000


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
    """A prediction id, `session/window start in ms/revision@digest`, and its parts."""

    id: str
    window_id: str
    session: str
    start_us: int

    @classmethod
    def parse(cls, id: str) -> PredictionKey:
        """Split an id into its parts.

        Raises:
            InvalidPredictionId: The text is not the id of a prediction.
        """
        window_id, at, _ = id.rpartition("@")
        session, *numbers = window_id.rsplit("/", 2)
        if not at or len(numbers) != 2 or not session or not numbers[0].lstrip("-").isdecimal():
            raise InvalidPredictionId(id)
        return cls(id, window_id, session, int(numbers[0]) * 1000)


@dataclass(frozen=True, slots=True)
class MemberInput:
    """A member of the window with its record; None if the record is gone or its position holds other bytes."""

    modality: str
    topic: str
    member: Member
    record: KafkaRecord | None

    @property
    def payload(self) -> Payload | None:
        """The payload of the member, None if it is gone."""
        envelope = None if self.record is None else cloudevents.parse_envelope(self.record.headers, self.record.value)
        return Payload(envelope.get("content-type"), envelope.payload) if isinstance(envelope, Envelope) else None


@dataclass(slots=True)
class PredictionEvidence:
    """A prediction's record, its window's record (None if it is gone) and the members of that window."""

    prediction: KafkaRecord
    window_record: KafkaRecord | None = None
    window: Window | None = None
    inputs: Sequence[MemberInput] = field(default_factory=list)

    @property
    def value(self) -> bytes:
        """The bytes of the prediction."""
        return self.prediction.value or b""

    @property
    def headers(self) -> Headers:
        """The Kafka headers of the prediction."""
        return self.prediction.headers

    @property
    def record(self) -> dict[str, Any]:
        """The decoded prediction. Raises ContractError."""
        return decode(self.value)

    @property
    def is_complete(self) -> bool:
        """True if the window and all of its members are there; muted modalities were not used and do not count."""
        muted = muted_modalities(self.record)
        return self.window is not None and all(i.record is not None or i.modality in muted for i in self.inputs)

    @property
    def payloads(self) -> dict[MemberPosition, Payload]:
        """The payloads that are there, in the form that inference reads."""
        payloads = ((position_of(i.modality, i.member), i.payload) for i in self.inputs)
        return {position: payload for position, payload in payloads if payload is not None}


def find_in_records(
    predictions: Iterable[KafkaRecord],
    windows: Iterable[KafkaRecord],
    media: Callable[[set[RecordPosition]], Iterable[KafkaRecord]] | Sequence[KafkaRecord],
    topics: Topics,
    key: PredictionKey,
) -> PredictionEvidence | None:
    """Find a prediction's evidence in records; None if the prediction is not among them.

    Args:
        predictions: Records of the predictions topic.
        windows: Records of the windows topic.
        media: Records of the media topics, or a function that returns those at the given positions.
        topics: The names of the topics.
        key: The prediction.
    """
    prediction = next((record for record in predictions if _id_of(record) == key.id), None)
    if prediction is None or decode_or_none(prediction.value) is None:
        return None
    evidence = PredictionEvidence(prediction, next((r for r in windows if _id_of(r) == key.window_id), None))
    evidence.window = (
        None if evidence.window_record is None else window_record.decode_or_none(evidence.window_record.value)
    )
    if evidence.window is not None:
        records = media(_member_positions(evidence.window, topics)) if callable(media) else media
        evidence.inputs = _inputs(evidence.window, topics, {record.position: record for record in records})
    return evidence


def find_in_archive(archive: EventArchive, topics: Topics, key: PredictionKey) -> PredictionEvidence | None:
    """Find a prediction's evidence in the archive; None if no archived event of its session has it."""
    for entry in archive.entries_of(key.session):
        evidence = find_in_records(entry.predictions, entry.windows, entry.media, topics, key)
        if evidence is not None:
            return evidence
    return None


async def find_in_topics(
    reader: AIOKafkaConsumer, topics: Topics, partitions: int, future_us: int, key: PredictionKey
) -> PredictionEvidence | None:
    """Find a prediction's evidence in the topics; None if they do not have the prediction (any more)."""
    return next(iter(await collect_evidence(reader, topics, partitions, future_us, [key])), None)


async def collect_evidence(
    reader: AIOKafkaConsumer, topics: Topics, partitions: int, future_us: int, keys: Sequence[PredictionKey]
) -> list[PredictionEvidence]:
    """Find the evidence of predictions of one session in the topics; predictions that are gone are left out.

    Each log is read once.

    Args:
        reader: A consumer without a group.
        topics: The names of the topics.
        partitions: The partition count of every topic.
        future_us: No chunk is appended more than this before its own time, so nothing of a window is further back.
        keys: The predictions, all of one session.

    Raises:
        KafkaError: The broker cannot be read.
    """
    if not keys:
        return []
    partition = partition_of(keys[0].session.encode(), partitions)
    from_ms = max((min(key.start_us for key in keys) - future_us) // 1000 - 1, 0)
    predictions = await _with_ids(
        reader, TopicPartition(topics.predictions, partition), from_ms, {key.id for key in keys}
    )
    ids = {key.window_id for key in keys} if predictions else set()
    windows = await _with_ids(reader, TopicPartition(topics.windows, partition), from_ms, ids)
    media = await _members(reader, topics, partition, windows)
    evidences = (find_in_records(predictions, windows, media, topics, key) for key in keys)
    return [evidence for evidence in evidences if evidence is not None]


async def _with_ids(reader: AIOKafkaConsumer, log: TopicPartition, from_ms: int, ids: set[str]) -> list[KafkaRecord]:
    """Read the first record of each id from an append time on."""
    start = (await reader.offsets_for_times({log: from_ms}))[log] if ids else None
    records: dict[str, KafkaRecord] = {}
    if start is not None:
        async for consumed in read_range(reader, log, start.offset):
            record = KafkaRecord.copy_of(consumed)
            id = _id_of(record)
            if id in ids:
                records.setdefault(id, record)
                if len(records) == len(ids):
                    break
    return list(records.values())


async def _members(
    reader: AIOKafkaConsumer, topics: Topics, partition: int, windows: Sequence[KafkaRecord]
) -> list[KafkaRecord]:
    """Read the records of members in one partition; reading one that does not exist would wait for ever."""
    offsets: dict[str, set[int]] = {}
    for record in windows:
        window = window_record.decode_or_none(record.value)
        for position in _member_positions(window, topics) if window is not None else ():
            if position.partition == partition:
                offsets.setdefault(position.topic, set()).add(position.offset)
    records: list[KafkaRecord] = []
    for topic, member_offsets in sorted(offsets.items()):
        first, last = min(member_offsets), max(member_offsets)
        if last - first <= SPAN_MAX:
            async for consumed in read_range(reader, TopicPartition(topic, partition), first, last + 1):
                if consumed.offset in member_offsets:
                    records.append(KafkaRecord.copy_of(consumed))
    return records


def _id_of(record: KafkaRecord) -> str | None:
    id = canonical.object_or_empty(record.value).get("id")
    return id if isinstance(id, str) else None


def _member_positions(window: Window, topics: Topics) -> set[RecordPosition]:
    return {
        RecordPosition(topics.media(modality), member.partition, member.offset)
        for modality, stream in window.modalities.items()
        if modality in topics.modalities
        for member in stream.members
    }


def _inputs(window: Window, topics: Topics, records: Mapping[RecordPosition, KafkaRecord]) -> list[MemberInput]:
    inputs = []
    for modality, stream in window.modalities.items():
        topic = topics.media(modality) if modality in topics.modalities else ""
        for member in stream.members:
            record = records.get(RecordPosition(topic, member.partition, member.offset))
            is_same = record is not None and _has_payload_of(record, member)
            inputs.append(MemberInput(modality, topic, member, record if is_same else None))
    return inputs


def _has_payload_of(record: KafkaRecord, member: Member) -> bool:
    """False if the position holds other bytes by now: offsets begin anew on a new broker."""
    envelope = cloudevents.parse_envelope(record.headers, record.value)
    return isinstance(envelope, Envelope) and hashlib.sha256(envelope.payload).hexdigest() == member.sha256
