"""The state of a consumer group: its members, and what waits for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupCoordinatorNotAvailableError


@dataclass(frozen=True, slots=True)
class GroupState:
    """A consumer group at one moment.

    Attributes:
        members: Processes in the group.
        committed: The sum of its committed offsets; None if it has never committed.
        ends: The sum of the end offsets of its topics.
        lag: Records between the two, or since the oldest retained record where nothing is committed.
    """

    members: int
    committed: int | None
    ends: int
    lag: int


async def read_group_state(
    admin: AIOKafkaAdminClient, reader: AIOKafkaConsumer, group: str, topics: Sequence[str], partitions: int
) -> GroupState:
    """Ask the broker for the state of a group. Raises KafkaError."""
    logs = [TopicPartition(topic, number) for topic in topics for number in range(partitions)]
    ends, oldest = await reader.end_offsets(logs), await reader.beginning_offsets(logs)
    try:
        (answer,) = await admin.describe_consumer_groups([group])
        members = sum(len(described[5]) for described in answer.groups)
        offsets = await admin.list_consumer_group_offsets(group)
    except GroupCoordinatorNotAvailableError:
        # The broker makes its topic of groups with the first member of any.
        members, offsets = 0, {}
    committed = {tp: offsets[tp].offset for tp in logs if tp in offsets and offsets[tp].offset >= 0}
    lag = sum(max(end - max(committed.get(tp, 0), oldest[tp]), 0) for tp, end in ends.items())
    return GroupState(members, sum(committed.values()) if committed else None, sum(ends.values()), lag)
