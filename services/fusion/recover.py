"""Recovery: the predictions topic is the worker's checkpoint; at assignment its tail gives each session's state."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.contract import canonical
from services.contract.topics import Topics
from services.fusion.batch import Queued
from services.fusion.decide import State
from services.fusion.events import Chains
from services.fusion.resume import UNREAD_US, look_back_us, newest, state_of
from services.runtime.log_range import read_range, with_readers

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


class Recovery:
    """What the predictions topic tells of the sessions: read at assignment, and further back where a window asks for it.

    tail_ms: how far before the first window that is read again; future_us: see `look_back_us`; make_reader: of a
    consumer without a group.
    """

    def __init__(
        self, topics: Topics, tail_ms: int, future_us: int, make_reader: Callable[[], AIOKafkaConsumer]
    ) -> None:
        self._topics, self._tail_ms, self._future_us, self._make_reader = topics, tail_ms, future_us, make_reader
        self._read_since_us: dict[int, int] = {}

    async def adopt(self, group: AIOKafkaConsumer, numbers: Sequence[int], model_digest: str) -> Sequence[Recovered]:
        """Forget what was read, and read what is needed of these partition numbers, in their order."""

        async def read(reader: AIOKafkaConsumer, number: int) -> Recovered:
            return await recover(group, reader, self._topics, number, self._tail_ms, model_digest)

        found = await with_readers(self._make_reader, numbers, read)
        self._read_since_us = {number: one.read_since_us for number, one in zip(numbers, found, strict=True)}
        return found

    async def look_back(self, queued: Sequence[Queued], chains: Chains, model_digest: str) -> None:
        """Read the states of predecessors that were predicted before what was read, into the chains."""
        since_us: dict[int, int] = {}
        for number in {q.number for q in queued}:
            read_us = UNREAD_US if chains.forgot else self._read_since_us[number]
            windows = (q.window for q in queued if q.number == number)
            wanted_us = look_back_us(windows, chains.states, read_us, self._future_us)
            if wanted_us is not None:
                since_us[number] = wanted_us

        async def read(reader: AIOKafkaConsumer, number: int) -> Mapping[str, State]:
            return await states_since(reader, self._topics, number, since_us[number], model_digest)

        readers = with_readers(self._make_reader, list(since_us), read)
        for number, states in zip(since_us, await readers, strict=True):
            self._read_since_us[number] = since_us[number]
            for session, state in states.items():
                newest(chains.states, session, state)


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
