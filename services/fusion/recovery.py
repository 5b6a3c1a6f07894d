"""Recover the event detector's states: the predictions topic is the worker's checkpoint.

At assignment its tail gives each session's state; a window whose predecessor is older asks for more of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.contract import canonical
from services.contract.prediction import STATE_HEADER
from services.contract.record_fields import fields, integer, text
from services.contract.session_reset import generation_id
from services.contract.topics import Topics
from services.contract.window import Window
from services.fusion.event_detector import DetectorState
from services.fusion.event_tracker import EventTracker
from services.fusion.fair_queue import QueuedWindow
from services.kafka.log_reader import read_partitions, read_range
from services.kafka.skipped_records import SkippedRecords
from services.kafka.start_offsets import find_start_offsets, first_append_ms

# Nothing was read of the predictions.
UNREAD_US = 1 << 62
_skipped = SkippedRecords("recovery")


def state_of(
    headers: Sequence[tuple[str, bytes]], value: bytes | None, model_digest: str
) -> tuple[str, DetectorState] | None:
    """Return generation id and state after a final prediction of this model, None for any other record.

    Raises:
        ContractError: The record is not a prediction.
    """
    raw = next((content for name, content in headers if name == STATE_HEADER), None)
    if raw is None or value is None:
        return None
    record = canonical.loads_object(value)
    if text(fields(record, "model"), "digest") != model_digest:
        return None
    window = fields(record, "window")
    generation = integer(window, "generation") if "generation" in window else 0
    return generation_id(text(record, "session"), generation), DetectorState.decode(raw)


def keep_newest(states: dict[str, DetectorState], id: str, state: DetectorState) -> None:
    """Store a state unless a later one is known: a worker that lost its partition may still publish an older one."""
    known = states.get(id)
    if known is None or state.last_us >= known.last_us:
        states[id] = state


def look_back_us(
    windows: Iterable[Window],
    states: Mapping[str, DetectorState],
    read_since_us: int,
    future_us: int,
    last_added_us: Callable[[str], int | None] = lambda id: None,
) -> int | None:
    """Return the append time (us) from which on predictions must be read before these windows are predicted.

    A window's predecessor was predicted after its members were appended, and no member is appended more than
    `future_us` before its own time (admission rejects it). So its state cannot be further back, however long anything
    was down since.

    Args:
        windows: The windows, in order.
        states: The known states by generation id.
        read_since_us: The append time from which on predictions have been read.
        future_us: How far in the future a chunk's time may be.
        last_added_us: Returns the start of the final window of a generation that is predicted right before these.

    Returns:
        None if enough is known.
    """
    reached: dict[str, int] = {}
    since_us: int | None = None
    for window in windows:
        state = states.get(window.generation_id)
        last_us = reached.get(window.generation_id)
        if last_us is None:
            last_us = last_added_us(window.generation_id)
        if last_us is None:
            last_us = -UNREAD_US if state is None else state.last_us
        if not window.final or window.start_us <= last_us:
            continue
        previous_us = window.previous_us
        if previous_us is not None and last_us != previous_us:
            could_be_us = previous_us - future_us - 1
            if could_be_us < read_since_us and (since_us is None or could_be_us < since_us):
                since_us = could_be_us
        reached[window.generation_id] = window.start_us
    return since_us


@dataclass(frozen=True, slots=True)
class RecoveredPartition:
    """Where to read a partition of the windows topic from, and what is known of its sessions.

    Attributes:
        offset: Where to read on.
        states: The newest state by generation id that was published since `read_since_us`.
        read_since_us: Append time; UNREAD_US if nothing was read.
        lost: How many offsets were deleted before they were read.
    """

    offset: int
    states: Mapping[str, DetectorState]
    read_since_us: int
    lost: int


class StateRecovery:
    """Reads the states of sessions from the predictions topic: at assignment, and further back if a window needs it.

    Args:
        topics: The names of the topics.
        tail_ms: How far before the first window that is read again the predictions are read.
        future_us: See `look_back_us`.
        make_reader: Makes a consumer without a group.
    """

    def __init__(
        self, topics: Topics, tail_ms: int, future_us: int, make_reader: Callable[[], AIOKafkaConsumer]
    ) -> None:
        self._topics, self._tail_ms, self._future_us, self._make_reader = topics, tail_ms, future_us, make_reader
        self._read_since_us: dict[int, int] = {}

    async def recover(
        self, group: AIOKafkaConsumer, numbers: Sequence[int], model_digest: str
    ) -> Sequence[RecoveredPartition]:
        """Read anew what is needed of these partitions, in their order."""

        async def read(reader: AIOKafkaConsumer, number: int) -> RecoveredPartition:
            return await recover(group, reader, self._topics, number, self._tail_ms, model_digest)

        partitions = await read_partitions(self._make_reader, numbers, read)
        self._read_since_us = {n: one.read_since_us for n, one in zip(numbers, partitions, strict=True)}
        return partitions

    async def look_back(
        self,
        queued: Sequence[QueuedWindow],
        tracker: EventTracker,
        last_added_us: Callable[[str], int | None],
        model_digest: str,
    ) -> None:
        """Read the states of predecessors that were predicted before what was read, into the tracker."""
        since_us: dict[int, int] = {}
        for number in {q.partition for q in queued}:
            read_us = UNREAD_US if tracker.has_dropped_sessions else self._read_since_us[number]
            windows = (q.window for q in queued if q.partition == number)
            from_us = look_back_us(windows, tracker.states, read_us, self._future_us, last_added_us)
            if from_us is not None:
                since_us[number] = from_us

        async def read(reader: AIOKafkaConsumer, number: int) -> Mapping[str, DetectorState]:
            return await states_since(reader, self._topics, number, since_us[number], model_digest)

        readers = read_partitions(self._make_reader, list(since_us), read)
        for number, states in zip(since_us, await readers, strict=True):
            self._read_since_us[number] = since_us[number]
            for id, state in states.items():
                keep_newest(tracker.states, id, state)


async def recover(
    group: AIOKafkaConsumer, reader: AIOKafkaConsumer, topics: Topics, number: int, tail_ms: int, model_digest: str
) -> RecoveredPartition:
    """Read the commit offset of one partition, and the states published since shortly before the record there.

    Raises:
        KafkaError: The broker cannot be read.
    """
    windows = TopicPartition(topics.windows, number)
    offset, lost = (await find_start_offsets(group, reader, [windows]))[windows]
    since_us, states = UNREAD_US, {}
    first_ms = await first_append_ms(reader, windows, offset)
    if first_ms is not None:
        since_us = (first_ms - tail_ms) * 1000
        states = await states_since(reader, topics, number, since_us, model_digest)
    return RecoveredPartition(offset, states, since_us, lost)


async def states_since(
    reader: AIOKafkaConsumer, topics: Topics, number: int, since_us: int, model_digest: str
) -> dict[str, DetectorState]:
    """Return the newest state of each generation of a session in one partition since an append time (us).

    Raises:
        KafkaError: The broker cannot be read.
    """
    tp = TopicPartition(topics.predictions, number)
    start = (await reader.offsets_for_times({tp: max(since_us // 1000, 0)}))[tp]
    states: dict[str, DetectorState] = {}
    if start is None:
        return states
    async for record in read_range(reader, tp, start.offset):
        with _skipped.guard(record):
            found = state_of(record.headers, record.value, model_digest)
            if found is not None:
                keep_newest(states, *found)
    return states
