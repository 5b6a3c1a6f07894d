"""Recovery: the predictions topic is the worker's checkpoint; at assignment its tail gives each session's state."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.contract import canonical
from services.contract.topics import Topics
from services.fusion.decide import State
from services.fusion.resume import UNREAD_US, newest, state_of
from services.runtime.log_range import read_range

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where to read the windows topic from, and how many of its records were deleted unread.

    states: the newest of each session told since `read_since_us` (broker time; UNREAD_US: nothing was read).
    """

    position: int
    states: Mapping[str, State]
    read_since_us: int
    lost: int


async def recover(
    group: AIOKafkaConsumer, reader: AIOKafkaConsumer, topics: Topics, number: int, tail_ms: int, model_digest: str
) -> Recovered:
    """Read the committed floor of one partition number, and the states told since the record there. Raises KafkaError."""
    windows = TopicPartition(topics.windows, number)
    begin = (await reader.beginning_offsets([windows]))[windows]
    committed = await group.committed(windows)
    floor = max(begin, committed or 0)
    lost = max(begin - committed, 0) if committed is not None else 0
    since_us, states = UNREAD_US, {}
    async for record in read_range(reader, windows, floor, floor + 1):
        since_us = (record.timestamp - tail_ms) * 1000
    if since_us != UNREAD_US:
        states = await states_since(reader, topics, number, since_us, model_digest)
    return Recovered(floor, states, since_us, lost)


async def states_since(
    reader: AIOKafkaConsumer, topics: Topics, number: int, since_us: int, model_digest: str
) -> dict[str, State]:
    """The newest state per session told in one partition since a broker time (us). Raises KafkaError."""
    tp = TopicPartition(topics.predictions, number)
    found = (await reader.offsets_for_times({tp: max(since_us // 1000, 0)}))[tp]
    states: dict[str, State] = {}
    if found is None:
        return states
    async for record in read_range(reader, tp, found.offset):
        try:
            state = state_of(record.headers, record.value, model_digest)
            if state is not None:
                newest(states, record.key.decode(), state)
        except (canonical.NotJson, KeyError, TypeError, ValueError) as error:
            _log.warning("a prediction cannot be read back", extra={"why": type(error).__name__, "at": record.offset})
    return states
