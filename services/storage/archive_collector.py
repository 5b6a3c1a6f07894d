"""Collects the archive entry of an event from the topics."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer

from services.contract.kafka_record import KafkaRecord
from services.contract.topics import Topics
from services.storage.archive_entry import ArchiveEntry
from services.storage.evidence import InvalidPredictionId, PredictionEvidence, PredictionKey, collect_evidence

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
    """Return the entry of an event; records that are gone are left out.

    Args:
        reader: A consumer without a group.
        topics: The names of the topics.
        partitions: The partition count of every topic.
        future_us: No chunk is appended more than this before its own time.
        events: The records of the event.
        event_id: Its id.
        session: Its session.
        predictions: The ids of its predictions; of too many the newest count, and invalid ids are ignored.
        now_us: The wall clock.

    Raises:
        KafkaError: The topics cannot be read.
    """
    keys = [key for id in predictions[-PREDICTIONS_MAX:] if (key := _key_in(session, id)) is not None]
    evidence = await collect_evidence(reader, topics, partitions, future_us, keys)
    return build_entry(evidence, events, event_id, session, now_us)


def _key_in(session: str, id: str) -> PredictionKey | None:
    try:
        key = PredictionKey.parse(id)
    except InvalidPredictionId:
        return None
    return key if key.session == session else None


def build_entry(
    evidence: Sequence[PredictionEvidence], events: Sequence[KafkaRecord], event_id: str, session: str, now_us: int
) -> ArchiveEntry:
    """Build an entry from the evidence of predictions; a media record of several windows is in it once."""
    media = {i.record.position: i.record for e in evidence for i in e.inputs if i.record is not None}
    return ArchiveEntry(
        event_id=event_id,
        session=session,
        archived_us=now_us,
        events=list(events),
        windows=[e.window_record for e in evidence if e.window_record is not None],
        predictions=[e.prediction for e in evidence],
        media=[media[position] for position in sorted(media)],
    )
