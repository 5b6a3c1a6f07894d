"""Gathers what an event was made from, while the topics still have it."""

from __future__ import annotations

from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer

from services.contract.topics import Topics
from services.evidence.entry import Entry
from services.recordings.kept import Kept
from services.why.evidence import BadId, Evidence, wanted
from services.why.from_log import find

PREDICTIONS_MAX = 240


async def gather(
    reader: AIOKafkaConsumer,
    topics: Topics,
    partitions: int,
    future_us: int,
    events: Sequence[Kept],
    event_id: str,
    session: str,
    predictions: Sequence[str],
    now_us: int,
) -> Entry:
    """The entry of an event: its records, and the windows and media of these predictions (by id), the newest of too many.

    What is gone, and what is no prediction's id, is left out. Raises KafkaError.
    """
    found: list[Evidence] = []
    for id in predictions[-PREDICTIONS_MAX:]:
        try:
            evidence = await find(reader, topics, partitions, future_us, wanted(id))
        except BadId:
            continue
        if evidence is not None:
            found.append(evidence)
    return entry_of(found, events, event_id, session, now_us)


def entry_of(found: Sequence[Evidence], events: Sequence[Kept], event_id: str, session: str, now_us: int) -> Entry:
    """One entry of several predictions' evidence: what stands in several windows is in it once."""
    media = {
        (i.kept.topic, i.kept.partition, i.kept.offset): i.kept for e in found for i in e.inputs if i.kept is not None
    }
    return Entry(
        event_id=event_id,
        session=session,
        kept_us=now_us,
        events=list(events),
        windows=[e.window_record for e in found if e.window_record is not None],
        predictions=[e.prediction for e in found],
        media=[media[place] for place in sorted(media)],
    )
