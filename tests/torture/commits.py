"""All commits of consumer groups, read from __consumer_offsets, and the check that none came too early."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from services.contract.kafka_record import KafkaRecord

OFFSETS_TOPIC = "__consumer_offsets"
COMMIT_KEYS = (0, 1)
COMPACT_FROM = 4  # from this version of the value on, strings are compact (KIP-482)
Log = tuple[str, int]


class UnknownRecordFormat(Exception):
    """A record in an unknown format; the check cannot ignore it."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit for one log, with the time of the broker."""

    group: str
    topic: str
    partition: int
    offset: int
    at_ms: int


class Need(NamedTuple):
    """A record that was needed until the broker had its output."""

    offset: int
    until_ms: int


def read_commit(raw: KafkaRecord) -> Commit | None:
    """Return the commit of a record, None for other records (group metadata, tombstones).

    Raises UnknownRecordFormat. Source: OffsetCommitKey.json and OffsetCommitValue.json of Apache Kafka 4.1.
    """
    key, value = raw.key or b"", raw.value
    if value is None or struct.unpack_from(">h", key)[0] not in COMMIT_KEYS:
        return None
    group, at = _string(key, 2)
    topic, at = _string(key, at)
    (partition,) = struct.unpack_from(">i", key, at)
    version, offset = struct.unpack_from(">hq", value)
    if not 0 <= version <= COMPACT_FROM:
        raise UnknownRecordFormat(f"a commit of version {version}")
    at = 10 + (4 if version >= 3 else 0)  # the leader epoch
    at = _skip_compact(value, at) if version >= COMPACT_FROM else _string(value, at)[1]
    (at_ms,) = struct.unpack_from(">q", value, at)
    return Commit(group, topic, partition, offset, at_ms)


def premature_commits(commits: Iterable[Commit], needs: Mapping[Log, Sequence[Need]]) -> list[str]:
    """Describe each commit above a record that was still needed; needs are by topic and partition."""
    offsets: dict[Log, list[int]] = {}
    latest: dict[Log, list[int]] = defaultdict(list)
    for log, needed in needs.items():
        in_order = sorted(needed)
        offsets[log] = [need.offset for need in in_order]
        for need in in_order:
            latest[log].append(max(need.until_ms, latest[log][-1] if latest[log] else need.until_ms))
    troubles = []
    for c in commits:
        log = c.topic, c.partition
        below = bisect_left(offsets.get(log, []), c.offset)
        if below and latest[log][below - 1] > c.at_ms:
            late_ms = latest[log][below - 1] - c.at_ms
            troubles.append(
                f"{c.topic} {c.partition}: {c.offset} was committed {late_ms} ms before all records below it were processed"
            )
    return troubles


def _string(raw: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", raw, at)
    end = at + 2 + max(length, 0)
    return raw[at + 2 : end].decode(), end


def _skip_compact(raw: bytes, at: int) -> int:
    length = shift = 0
    while True:
        byte = raw[at]
        length |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return at + max(length - 1, 0)
