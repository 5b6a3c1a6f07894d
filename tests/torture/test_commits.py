"""The check of the commits can fail, and reads the coordinator's records as Kafka writes them."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from services.contract.record import KafkaRecord
from tests.torture.commits import Commit, Need, NotRead, past_the_floor, read_commit

LOG = ("braid.media.text.v1", 3)
# Offsets 10 and 11 are members of a window that is out at 500, 12 of one that is out at 900; floors as committed.
NEEDS = {LOG: [Need(12, 900), Need(10, 500), Need(11, 500)]}
FLOORS = [Commit("g", *LOG, offset=10, at_ms=499), Commit("g", *LOG, offset=12, at_ms=500)]
FLOORS += [Commit("g", *LOG, offset=13, at_ms=900)]


def record(version: int) -> KafkaRecord:
    """A commit of offset 1234 in topic `topic`, partition 7, as OffsetCommitValue of this version."""
    key = struct.pack(">hh5sh5si", 1, 5, b"group", 5, b"topic", 7)
    value = struct.pack(">hq", version, 1234)
    value += struct.pack(">i", 1) if version >= 3 else b""
    value += bytes([5]) + b"meta" if version >= 4 else struct.pack(">h4s", 4, b"meta")
    value += struct.pack(">q", 99)
    value += struct.pack(">q", 100) if version == 1 else b""
    value += bytes([0]) if version >= 4 else b""
    return KafkaRecord("topic", 0, 0, 0, key, (), value)


@pytest.mark.parametrize("version", range(5))
def test_a_commit_is_read_in_each_version_of_its_record(version: int) -> None:
    assert read_commit(record(version)) == Commit("group", "topic", 7, 1234, 99)


def test_a_version_that_is_not_known_is_no_silent_pass() -> None:
    with pytest.raises(NotRead):
        read_commit(record(0)._replace(value=struct.pack(">hq", 9, 1)))


def test_group_metadata_and_tombstones_are_no_commits() -> None:
    assert read_commit(KafkaRecord("topic", 0, 0, 0, struct.pack(">hh1s", 2, 1, b"g"), (), b"x")) is None
    assert read_commit(record(3)._replace(value=None)) is None


def test_commits_of_the_floors_pass() -> None:
    assert past_the_floor(FLOORS, NEEDS) == []


@pytest.mark.parametrize("by", [1, 2, 100])
def test_commits_of_the_read_position_instead_of_the_floor_are_noticed(by: int) -> None:
    assert past_the_floor([replace(commit, offset=commit.offset + by) for commit in FLOORS], NEEDS)


def test_a_commit_before_the_acknowledgement_is_noticed() -> None:
    assert past_the_floor([replace(FLOORS[1], at_ms=499)], NEEDS)


def test_a_commit_of_another_log_is_judged_by_its_own_needs() -> None:
    assert past_the_floor([replace(FLOORS[2], partition=4, at_ms=0)], NEEDS) == []
