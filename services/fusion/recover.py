"""Recovery: the predictions topic is the worker's checkpoint; at assignment its tail gives each session's state."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from services.contract import canonical
from services.contract.prediction import STATE_HEADER
from services.contract.topics import Topics
from services.fusion.decide import State
from services.runtime.log_range import read_range

FURTHER_BACK_MS = 600_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recovered:
    """Where to read the windows topic from, each session's state, and how many records were deleted unread."""

    position: int
    states: Mapping[str, State]
    lost: int


async def recover(
    group: AIOKafkaConsumer, reader: AIOKafkaConsumer, topics: Topics, number: int, tail_ms: int, model_digest: str
) -> Recovered:
    """Read the committed floor and the newest state per session of one partition number.

    Ten minutes beyond the tail are read at once: the predecessor of the window at the floor may be that old. Raises
    KafkaError.
    """
    windows, predictions = TopicPartition(topics.windows, number), TopicPartition(topics.predictions, number)
    begin = (await reader.beginning_offsets([windows]))[windows]
    end = (await reader.end_offsets([windows]))[windows]
    committed = await group.committed(windows)
    floor = max(begin, committed or 0)
    lost = max(begin - committed, 0) if committed is not None else 0
    since_ms = None
    if floor < end:
        async for record in read_range(reader, windows, floor, floor + 1):
            since_ms = record.timestamp - tail_ms - FURTHER_BACK_MS
    elif end > begin:
        async for record in read_range(reader, windows, end - 1, end):
            since_ms = record.timestamp - tail_ms - FURTHER_BACK_MS
    states: dict[str, State] = {}
    if since_ms is not None:
        found = (await reader.offsets_for_times({predictions: max(since_ms, 0)}))[predictions]
        if found is not None:
            async for record in read_range(reader, predictions, found.offset):
                state = _state(record, model_digest)
                if state is not None:
                    session = record.key.decode()
                    if session not in states or state.last_us >= states[session].last_us:
                        states[session] = state
    return Recovered(floor, states, lost)


def _state(record: ConsumerRecord, model_digest: str) -> State | None:
    """The state after a final prediction of our own model, None for any other record."""
    raw = next((value for name, value in record.headers if name == STATE_HEADER), None)
    if raw is None or record.value is None:
        return None
    try:
        digest = canonical.loads_object(record.value)["model"]["digest"]
        return State.decode(raw) if digest == model_digest else None
    except (canonical.NotJson, KeyError, TypeError, ValueError) as error:
        _log.warning("a prediction cannot be read back", extra={"why": type(error).__name__, "at": record.offset})
        return None
