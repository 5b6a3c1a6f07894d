"""Finds a prediction and what it was made from in the topics."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from services.contract import window as window_record
from services.contract.murmur2 import partition_of
from services.contract.topics import Topics
from services.recordings.kept import Kept
from services.runtime.log_range import read_range
from services.why.evidence import Evidence, Wanted, inputs, is_it

# Of one modality of one window: how many records of its partition are read to find its members.
SPAN_MAX = 100_000


async def find(
    reader: AIOKafkaConsumer, topics: Topics, partitions: int, future_us: int, wanted: Wanted
) -> Evidence | None:
    """The evidence, None where the predictions topic has no such prediction (any more). Raises KafkaError.

    No member is appended more than `future_us` before its own time, so nothing of a window stands before that.
    """
    number = partition_of(wanted.session.encode(), partitions)
    from_ms = (wanted.start_us - future_us) // 1000 - 1
    found = await _first(reader, TopicPartition(topics.predictions, number), from_ms, wanted.id)
    if found is None or found.value is None:
        return None
    out = Evidence(found, await _first(reader, TopicPartition(topics.windows, number), from_ms, wanted.window_id))
    out.window = None if out.window_record is None else window_record.read(out.window_record.value)
    if out.window is None:
        return out
    media = {modality: topics.media(modality) for modality in topics.modalities}
    records: dict[tuple[str, int, int], Kept] = {}
    for modality, lane in out.window.modalities.items():
        offsets = {member.offset for member in lane.members}
        if not offsets or modality not in media or max(offsets) - min(offsets) > SPAN_MAX:
            continue
        log = TopicPartition(media[modality], number)
        async for read in read_range(reader, log, min(offsets), max(offsets) + 1):
            if read.offset in offsets:
                records[log.topic, number, read.offset] = kept_of(read)
    out.inputs = inputs(out.window, media, records)
    return out


async def _first(reader: AIOKafkaConsumer, log: TopicPartition, from_ms: int, id: str) -> Kept | None:
    at = (await reader.offsets_for_times({log: max(from_ms, 0)}))[log]
    if at is None:
        return None
    async for record in read_range(reader, log, at.offset):
        kept = kept_of(record)
        if is_it(kept, id):
            return kept
    return None


def kept_of(r: ConsumerRecord) -> Kept:
    """A record of a topic as recordings keep it."""
    return Kept(r.topic, r.partition, r.offset, r.timestamp, r.key, list(r.headers), r.value)
