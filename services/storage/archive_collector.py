"""Gathers what an event was made from, while the topics still have it."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.contract.partitioner import partition_of
from services.contract.record import KafkaRecord
from services.contract.topics import Topics
from services.contract.window import read
from services.inspection.explain.lookup import (
    SPAN_MAX,
    InvalidPredictionId,
    PredictionEvidence,
    PredictionKey,
    find_in_records,
    id_of,
    member_places,
    parse_prediction_id,
)
from services.kafka.log_reader import read_range
from services.storage.archive_entry import ArchiveEntry

PREDICTIONS_MAX = 240


async def collect_entry(
    reader: AIOKafkaConsumer,
    topics: Topics,
    partitions: int,
    future_us: int,
    events: Sequence[KafkaRecord],
    event_id: str,
    session: str,
    predictions: Sequence[str],
    now_us: int,
) -> ArchiveEntry:
    """The entry of an event: its records, and the windows and media of these predictions (by id), the newest of too many.

    What is gone, and what is no prediction's id, is left out. Each log is read once. Raises KafkaError.
    """
    asked = [found for id in predictions[-PREDICTIONS_MAX:] if (found := _wanted(id, session)) is not None]
    if not asked:
        return build_entry([], events, event_id, session, now_us)
    number = partition_of(session.encode(), partitions)
    from_ms = max((min(w.start_us for w in asked) - future_us) // 1000 - 1, 0)
    said = await _of_ids(reader, TopicPartition(topics.predictions, number), from_ms, {w.id for w in asked})
    windows = await _of_ids(reader, TopicPartition(topics.windows, number), from_ms, {w.window_id for w in asked})
    media = await _media(reader, topics, windows)
    each = (find_in_records(said, windows, media, topics, w) for w in asked)
    return build_entry([e for e in each if e is not None], events, event_id, session, now_us)


def _wanted(id: str, session: str) -> PredictionKey | None:
    try:
        found = parse_prediction_id(id)
    except InvalidPredictionId:
        return None
    return found if found.session == session else None


async def _of_ids(reader: AIOKafkaConsumer, log: TopicPartition, from_ms: int, ids: set[str]) -> list[KafkaRecord]:
    """The first record of each id."""
    at = (await reader.offsets_for_times({log: from_ms}))[log]
    found: dict[str, KafkaRecord] = {}
    if at is not None:
        async for record in read_range(reader, log, at.offset):
            kept = KafkaRecord.copy_of(record)
            id = id_of(kept)
            if id in ids:
                found.setdefault(id, kept)
                if len(found) == len(ids):
                    break
    return list(found.values())


async def _media(reader: AIOKafkaConsumer, topics: Topics, windows: Sequence[KafkaRecord]) -> list[KafkaRecord]:
    names = {modality: topics.media(modality) for modality in topics.modalities}
    places = {
        place for kept in windows if (window := read(kept.value)) is not None for place in member_places(window, names)
    }
    out: list[KafkaRecord] = []
    for topic, number in sorted({place[:2] for place in places}):
        offsets = {offset for t, n, offset in places if (t, n) == (topic, number)}
        if max(offsets) - min(offsets) <= SPAN_MAX:
            log = TopicPartition(topic, number)
            async for record in read_range(reader, log, min(offsets), max(offsets) + 1):
                if record.offset in offsets:
                    out.append(KafkaRecord.copy_of(record))
    return out


def build_entry(
    found: Sequence[PredictionEvidence], events: Sequence[KafkaRecord], event_id: str, session: str, now_us: int
) -> ArchiveEntry:
    """One entry of several predictions' evidence: what stands in several windows is in it once."""
    media = {i.kept.position: i.kept for e in found for i in e.inputs if i.kept is not None}
    return ArchiveEntry(
        event_id=event_id,
        session=session,
        archived_us=now_us,
        events=list(events),
        windows=[e.window_record for e in found if e.window_record is not None],
        predictions=[e.prediction for e in found],
        media=[media[place] for place in sorted(media)],
    )
