"""Where a group reads on, and which partitions it reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata

from services.kafka.assignor import make_assignor
from services.kafka.start_offsets import StartOffset, start_offset


@pytest.mark.parametrize(
    ("committed", "begin", "end", "start"),
    [
        (None, 0, 9, StartOffset(0, 0)),
        (None, 4, 9, StartOffset(4, 0)),  # what was deleted before the first commit cannot be known
        (5, 4, 9, StartOffset(5, 0)),
        (9, 4, 9, StartOffset(9, 0)),
        (2, 4, 9, StartOffset(4, 2)),
        (2, 9, 9, StartOffset(9, 7)),
        (10, 4, 9, StartOffset(4, 0)),  # truncated, or created again
    ],
)
def test_group_reads_on_at_its_commit_or_else_at_what_the_log_still_holds(
    committed: int | None, begin: int, end: int, start: StartOffset
) -> None:
    assert start_offset(committed, begin, end) == start


class Cluster:
    """The partition counts of a cluster; topics without one do not exist."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self._counts[topic])) if topic in self._counts else None


def assigned(counts: Mapping[str, int], members: int) -> list[dict[str, list[int]]]:
    assignor: Any = make_assignor(4)
    metadata = {f"m{n}": ConsumerProtocolMemberMetadata(0, ["a", "b"], b"") for n in range(members)}
    protocol = assignor.assign(Cluster(counts), metadata)
    return [dict(protocol[member].assignment) for member in sorted(metadata)]


def test_members_get_equal_numbers_of_all_topics_also_if_one_has_added_partitions() -> None:
    assert assigned({"a": 4, "b": 4}, 2) == [{"a": [0, 1], "b": [0, 1]}, {"a": [2, 3], "b": [2, 3]}]
    assert assigned({"a": 7, "b": 4}, 2) == assigned({"a": 4, "b": 4}, 2)


def test_numbers_that_a_topic_lacks_are_given_to_nobody() -> None:
    assert assigned({"a": 4, "b": 2}, 2) == [{"a": [0], "b": [0]}, {"a": [1], "b": [1]}]
    assert not any(numbers for topics in assigned({"a": 4}, 2) for numbers in topics.values())
