"""Where a consumer group reads on: its committed offsets, checked against what the logs still hold."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaTimeoutError

from services.kafka.log_reader import read_range

# The client's own limit, 40 s, is long for a topic that does not exist.
ENDS_WITHIN_S = 5
_log = logging.getLogger(__name__)


class StartOffset(NamedTuple):
    """Where a log is read on, and how many offsets were deleted before they were read.

    They are an upper bound of the records: markers of transactions take offsets too.
    """

    offset: int
    lost: int


def start_offset(committed: int | None, begin: int, end: int) -> StartOffset:
    """Return where to read on in a log that holds the offsets from `begin` to `end` (excluded).

    A log that ends before the commit was truncated, or its topic was deleted and created again. Which of its records are
    new cannot be known, so all are read: those that were processed before become late or duplicates.
    """
    if committed is None or committed > end:
        return StartOffset(begin, 0)
    return StartOffset(max(committed, begin), max(begin - committed, 0))


async def find_start_offsets(
    group: AIOKafkaConsumer, reader: AIOKafkaConsumer, logs: Iterable[TopicPartition]
) -> dict[TopicPartition, StartOffset]:
    """Look up where the group of `group` reads on in each log.

    `reader` must not read committed records only: an open transaction would make a log seem to end before the commit.
    Raises KafkaError, soon if a topic does not exist.
    """
    logs = list(logs)
    try:
        async with asyncio.timeout(ENDS_WITHIN_S):
            begins, ends = await reader.beginning_offsets(logs), await reader.end_offsets(logs)
    except TimeoutError:
        topics = sorted({tp.topic for tp in logs})
        raise KafkaTimeoutError(f"no answer within {ENDS_WITHIN_S} s about {', '.join(topics)}") from None
    starts: dict[TopicPartition, StartOffset] = {}
    for tp in logs:
        committed = await group.committed(tp)
        starts[tp] = start_offset(committed, begins[tp], ends[tp])
        if committed is not None and committed > ends[tp]:
            _log.error(
                "a log ends before the committed offset: it is read again from its beginning",
                extra={"topic": tp.topic, "partition": tp.partition, "committed": committed, "end": ends[tp]},
            )
    return starts


async def first_append_ms(reader: AIOKafkaConsumer, tp: TopicPartition, begin: int) -> int | None:
    """Return the append time of the first record from `begin` on, None if there is none. Raises KafkaError.

    The offset `begin` itself may be that of a marker or of a deleted record.
    """
    async for record in read_range(reader, tp, begin):
        timestamp: int = record.timestamp
        return timestamp
    return None
