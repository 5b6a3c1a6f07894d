"""Assigns partitions of equal numbers of all topics to one member of a consumer group."""

from __future__ import annotations

from collections.abc import Mapping

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata


class _FirstPartitions:
    """Metadata of a cluster in which every topic has the same number of partitions, the first ones."""

    def __init__(self, cluster: ClusterMetadata, count: int) -> None:
        self._cluster, self._count = cluster, count

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {n for n in self._cluster.partitions_for_topic(topic) or () if n < self._count}


def common_partitions(cluster: ClusterMetadata, topics: set[str], partitions: int) -> int:
    """Return how many partitions every topic has, at most `partitions`; 0 if a topic is missing."""
    return min([partitions, *(len(cluster.partitions_for_topic(topic) or ()) for topic in topics)])


def make_assignor(partitions: int) -> type[RangePartitionAssignor]:
    """Make a range assignor that assigns the first `partitions` partitions of each topic, and only numbers that all have.

    The range assignor itself would give equal numbers to different members as soon as a topic has more partitions than
    another one, and sessions in added partitions would begin anew there. Its name stays, so that members of former
    versions are in the same group.
    """

    class EqualNumbersAssignor(RangePartitionAssignor):  # type: ignore[misc]
        @classmethod
        def assign(
            cls, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
        ) -> dict[str, ConsumerProtocolMemberAssignment]:
            topics = {topic for member in members.values() for topic in member.subscription}
            count = common_partitions(cluster, topics, partitions)
            assigned: dict[str, ConsumerProtocolMemberAssignment] = super().assign(
                _FirstPartitions(cluster, count), members
            )
            return assigned

    return EqualNumbersAssignor
