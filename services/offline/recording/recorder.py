"""Record the topics of a broker into a file, oldest records first, up to their ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from services.contract import window as window_record
from services.contract.kafka_record import KafkaRecord, LogRecord
from services.contract.partitioner import partition_of
from services.contract.topics import Topics
from services.kafka import clients
from services.kafka.log_reader import read_range
from services.kafka.skipped_records import SkippedRecords
from services.offline.recording.metadata import RecordingMetadata
from services.offline.recording.writer import RecordingWriter
from services.runtime.settings import Settings

POLL_MS = 200
# Partitions that are this far ahead of the slowest one wait, so that the file is in order of time.
SKEW_MS = 10_000
# How far before a part its idle records and states are looked for; the media at least one period of quotas before it.
BEFORE_MS = 60_000


@dataclass(frozen=True, slots=True)
class RecordingSummary:
    """What was recorded: records by topic, final windows by the digest of their settings, and the end (wall clock)."""

    counts: Mapping[str, int]
    configs: Mapping[str, int]
    until_ms: int


async def record_topics(
    reader: AIOKafkaConsumer,
    settings: Settings,
    path: Path,
    since_ms: int | None,
    stop: asyncio.Event | None,
    on_progress: Callable[[int], None],
    session: str | None = None,
) -> RecordingSummary:
    """Write a recording of the topics.

    Args:
        reader: A consumer without a group.
        settings: The settings in force.
        path: The file to write.
        since_ms: The append time from which on to record; None for all that is retained.
        stop: Record until it is set; None to record up to the current ends.
        on_progress: Called with the number of records so far.
        session: Record only this session, and the records without a key in its partition (idle records among them).

    Raises:
        KafkaError: The broker cannot be read.
        OSError: The file cannot be written, or exists.
    """
    topics, count = settings.topic_names(), settings.topics.partitions
    alignment = settings.alignment_config()
    key = None if session is None else session.encode()
    numbers = range(count) if key is None else [partition_of(key, count)]
    first_offsets, is_complete = await _begins(reader, topics, numbers, since_ms, alignment.quota_period_us)
    by_topic: dict[str, dict[int, int]] = {}
    for log, offset in first_offsets.items():
        by_topic.setdefault(log.topic, {})[log.partition] = offset
    sections: dict[str, Any] = settings.model_dump(mode="json", include={"alignment", "limits", "quotas", "topics"})
    metadata = RecordingMetadata(alignment, sections, count, by_topic, is_complete)
    with RecordingWriter(path, metadata, topics) as writer:
        configs: dict[str, int] = {}
        until_ms = await _copy(reader, topics, key, first_offsets, writer, stop, on_progress, configs)
        writer.close(until_ms)
        return RecordingSummary(dict(writer.counts), configs, until_ms)


def _order(topics: Topics) -> tuple[str, ...]:
    """The topics with effects before causes: no effect lacks its cause if ends are looked up in this order."""
    return topics.predictions, topics.events, topics.windows, topics.late, topics.dead, *topics.media_all


async def _begins(
    reader: AIOKafkaConsumer, topics: Topics, numbers: Sequence[int], since_ms: int | None, quota_period_us: int
) -> tuple[dict[TopicPartition, int], bool]:
    """Where to begin each log, and whether there is nothing before that in the media logs."""
    logs = [TopicPartition(topic, n) for topic in _order(topics) for n in numbers]
    oldest: dict[TopicPartition, int] = await reader.beginning_offsets(logs)
    if since_ms is None:
        return oldest, not any(offset for log, offset in oldest.items() if log.topic in topics.media_all)
    ends: dict[TopicPartition, int] = await reader.end_offsets(logs)
    needed_ms = since_ms
    windows = await _at(reader, [log for log in logs if log.topic == topics.windows], since_ms, ends)
    for log, begin in windows.items():
        # A window that closes after `since` may have opened before it.
        async for record in read_range(reader, log, begin):
            window = window_record.decode_or_none(record.value)
            if window is not None and window.final:
                needed_ms = min(needed_ms, window.opened_us // 1000)
    early = {topics.predictions, *topics.media_all}
    before_ms = max(BEFORE_MS, quota_period_us // 1000)
    begins = await _at(reader, [log for log in logs if log.topic in early], needed_ms - before_ms, ends)
    begins |= windows
    begins |= await _at(reader, [log for log in logs if log not in begins], since_ms, ends)
    media = {log: begin for log, begin in begins.items() if log.topic in topics.media_all}
    return begins, not any(media.values())


async def _at(
    reader: AIOKafkaConsumer, logs: Sequence[TopicPartition], from_ms: int, ends: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    found = await reader.offsets_for_times(dict.fromkeys(logs, max(from_ms, 0)))
    return {log: ends[log] if found[log] is None else found[log].offset for log in logs}


async def _ends(
    reader: AIOKafkaConsumer, topics: Topics, logs: Iterable[TopicPartition]
) -> tuple[dict[TopicPartition, int], int]:
    ends: dict[TopicPartition, int] = {}
    until_ms = int(time.time() * 1000)
    for topic in _order(topics):
        ends |= await reader.end_offsets([log for log in logs if log.topic == topic])
    return ends, until_ms


async def _copy(
    reader: AIOKafkaConsumer,
    topics: Topics,
    key: bytes | None,
    begins: Mapping[TopicPartition, int],
    writer: RecordingWriter,
    stop: asyncio.Event | None,
    on_progress: Callable[[int], None],
    configs: dict[str, int],
) -> int:
    ends, until_ms = await _ends(reader, topics, begins)
    following, skipped = stop is not None, SkippedRecords("recorder")
    position = dict(begins)
    reached_ms = dict.fromkeys(begins, 0)
    reader.assign(list(begins))
    for log, begin in begins.items():
        reader.seek(log, begin)
    total = 0
    while True:
        if stop is not None and following and stop.is_set():
            ends, until_ms = await _ends(reader, topics, begins)
            following = False
        elif following:
            ends = {log: max(ends[log], clients.readable_end(reader, log) or 0) for log in ends}
        behind = {log for log in position if position[log] < ends[log]}
        if not behind and not following:
            return until_ms
        _in_step(reader, behind, reached_ms)
        fetched = await reader.getmany(timeout_ms=POLL_MS)
        if behind and not fetched:
            # A log that was truncated meanwhile does not reach its former end any more.
            current = await reader.end_offsets(list(behind))
            ends |= {log: min(ends[log], current[log]) for log in behind}
        for log, records in fetched.items():
            for record in records:
                if key is not None and record.key not in (key, None):
                    continue
                if following or record.offset < ends[log]:
                    with skipped.guard(record):
                        writer.add(KafkaRecord.copy_of(record))
                        total += 1
                        if log.topic == topics.windows:
                            _count(record, configs)
            reached_ms[log] = records[-1].timestamp
        for log in position:
            # The last offsets may hold no record but a transaction's marker: only the consumer knows that it is past them.
            position[log] = await reader.position(log)
        on_progress(total)


def _in_step(reader: AIOKafkaConsumer, behind: set[TopicPartition], reached_ms: Mapping[TopicPartition, int]) -> None:
    """Pause the logs that are far ahead of the slowest one that is not at its end."""
    slowest_ms = min((reached_ms[log] for log in behind), default=None)
    ahead = {log for log in reached_ms if slowest_ms is not None and reached_ms[log] > slowest_ms + SKEW_MS}
    paused = reader.paused()
    reader.pause(*(ahead - paused))
    reader.resume(*(paused - ahead))


def _count(record: LogRecord, configs: dict[str, int]) -> None:
    window = window_record.decode_or_none(record.value)
    if window is not None and window.final:
        configs[window.config] = configs.get(window.config, 0) + 1
