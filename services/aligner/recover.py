"""Recovery: reads at assignment what the logs say about a partition number, and where to go on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.aligner.start import Start, start_from
from services.contract import frontier, owned, window
from services.contract.frontier import Frontier
from services.contract.topics import Topics
from services.runtime.log_range import read_range

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where to start, and how many records had been deleted before we could read them (by modality)."""

    start: Start
    lost: Mapping[str, int]


async def recover(
    group: AIOKafkaConsumer, reader: AIOKafkaConsumer, topics: Topics, number: int, tail_ms: int, config: str
) -> Recovered:
    """Read committed floors, the frontier topic and the tail of the windows topic of one partition number.

    group: the consumer whose group's commits count; reader: one without a group, reassigned at will. Raises
    OtherSettings, KafkaError.
    """
    media = {m: TopicPartition(topics.media(m), number) for m in topics.modalities}
    begins = await reader.beginning_offsets(list(media.values()))
    ends = await reader.end_offsets(list(media.values()))
    floors: dict[str, int] = {}
    lost: dict[str, int] = {}
    for modality, tp in media.items():
        committed = await group.committed(tp)
        floors[modality] = max(begins[tp], committed or 0)
        lost[modality] = floors[modality] - committed if committed is not None else 0
    times_ms = [
        record.timestamp
        for modality, tp in media.items()
        if floors[modality] < ends[tp]
        async for record in read_range(reader, tp, floors[modality], floors[modality] + 1)
    ]
    told: dict[bytes, Frontier] = {}
    async for record in read_range(reader, TopicPartition(topics.frontier, number)):
        if owned.is_key(record.key or b""):
            continue
        found = None if record.value is None else frontier.read(record.value)
        if record.value is None:
            told.pop(record.key, None)
        elif found is None:
            _log.error("a frontier record cannot be read", extra={"partition": number, "offset": record.offset})
        else:
            told[record.key] = found
    windows = TopicPartition(topics.windows, number)
    end = (await reader.end_offsets([windows]))[windows]
    # Floors that are all the ends were committed with every session covered: then no tail is needed. Where the record
    # at a floor was deleted its time is unknown: then all that is left is read.
    begin = 0 if any(lost.values()) else end
    if times_ms and not any(lost.values()):
        since = await reader.offsets_for_times({windows: max(min(times_ms) - tail_ms, 0)})
        begin = since[windows].offset if since[windows] else end
    finals = [
        (record.timestamp * 1000, kept)
        async for record in read_range(reader, windows, begin, end)
        if (kept := window.read(record.value)) is not None and kept.final
    ]
    return Recovered(start_from(floors, told.items(), finals, config), lost)
