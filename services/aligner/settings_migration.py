"""Migration of sessions to new alignment settings.

An aligner runs under the old settings, without a service around it, from the committed offsets to the ends of the media
topics, until no window is open. Then each session's last emitted window is recorded under the new settings: an aligner
under these finds windows up to there done and continues after them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from services.aligner.worker import AlignerWorker
from services.contract import alignment_config, cloudevents, last_emitted_window
from services.contract.alignment_config import AlignmentConfig
from services.contract.last_emitted_window import LastEmittedWindow
from services.contract.topics import Topics
from services.contract.user_errors import BraidError
from services.contract.window import Window, decode_or_none
from services.kafka.log_reader import read_range

POLL_MS = 100
NAME_SOURCES_FOR_S = 3.0
ASSIGNED_WITHIN_S = 30.0


class MigrationError(BraidError):
    """Settings that cannot be migrated now."""


@dataclass(slots=True)
class FormerSettings:
    """What the frontier topic holds of other settings than those in force.

    Attributes:
        semantics: Other settings by their digest.
        unreadable: Digests of settings that another version of Braid wrote.
        frontiers: Start of the last emitted window (us) by session, by partition.
        keys: Keys of the records to delete, by partition.
        unrecorded: Start of the last final window (us) by session, by partition, of settings that are in windows but not
            in the frontier topic (any more): what was open under them cannot be closed.
        unrecorded_configs: The digests of those settings.
    """

    semantics: dict[str, AlignmentConfig] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    frontiers: dict[int, dict[str, int]] = field(default_factory=dict)
    keys: dict[int, list[bytes]] = field(default_factory=dict)
    unrecorded: dict[int, dict[str, int]] = field(default_factory=dict)
    unrecorded_configs: set[str] = field(default_factory=set)

    @property
    def sessions(self) -> int:
        """Count the sessions."""
        return sum(map(len, self.frontiers.values()))


async def read_former_settings(
    reader: AIOKafkaConsumer, topics: Topics, partitions: Iterable[int], config: str
) -> FormerSettings:
    """Read from the frontier and windows topics what belongs to other settings than `config`. Raises KafkaError."""
    former = FormerSettings()
    covered: dict[str, int] = {}
    for partition in partitions:
        newest: dict[bytes, bytes] = {}
        async for record in read_range(reader, TopicPartition(topics.frontier, partition)):
            if record.key is not None:
                newest[record.key] = record.value
        frontiers = former.frontiers.setdefault(partition, {})
        keys = former.keys.setdefault(partition, [])
        for key, value in newest.items():
            if value is None:
                continue
            if alignment_config.is_record_key(key):
                semantics = alignment_config.decode_record(value)
                if semantics is None:
                    former.unreadable.add(key.decode(errors="replace").rpartition("\0")[2])
                elif semantics.digest != config:
                    former.semantics[semantics.digest] = semantics
                    keys.append(key)
            elif (last := last_emitted_window.decode_or_none(value)) is None:
                continue
            elif last.config == config:
                covered[last.generation_id] = max(last.start_us, covered.get(last.generation_id, last.start_us))
            else:
                frontiers[last.generation_id] = max(last.start_us, frontiers.get(last.generation_id, last.start_us))
                keys.append(key)
    recorded = {config, *former.semantics, *former.unreadable}
    for partition in former.frontiers:
        starts = former.unrecorded.setdefault(partition, {})
        async for window in _windows_of_others(reader, TopicPartition(topics.windows, partition), recorded):
            id, start_us = window.generation_id, window.start_us
            if id not in covered or start_us > covered[id]:
                starts[id] = max(start_us, starts.get(id, start_us))
                former.unrecorded_configs.add(window.config)
    return former


async def _windows_of_others(
    reader: AIOKafkaConsumer, log: TopicPartition, configs: Collection[str]
) -> AsyncIterator[Window]:
    """Yield the final windows of a log that were made under other settings than these."""
    # Canonical JSON: nearly all windows can be passed over without decoding them.
    texts = [b'"config":"%b"' % config.encode() for config in configs]
    async for record in read_range(reader, log):
        if record.value is None or any(text in record.value for text in texts):
            continue
        window = decode_or_none(record.value)
        if window is not None and window.final and window.config not in configs:
            yield window


async def close_windows(
    group: AIOKafkaConsumer, worker: AlignerWorker, topics: Topics, partitions: int, progress: Callable[[str], None]
) -> None:
    """Read the media topics to their ends with an aligner under the old settings, until no window is open.

    Raises:
        MigrationError: A device sends meanwhile, or another aligner is running.
        KafkaError: The broker fails.
    """
    await _wait_for_assignment(group, len(topics.modalities) * partitions)
    ends = await group.end_offsets([TopicPartition(t, n) for t in topics.media_all for n in range(partitions)])
    for tp, offset in (await worker.on_assigned(group, range(partitions))).items():
        group.seek(tp, offset)
    committed: Mapping[TopicPartition, int] = {}
    current_ends = ends
    while committed != current_ends:
        fetched = await group.getmany(timeout_ms=POLL_MS)
        if sources := _sources(fetched, ends):
            raise await _still_sending(group, sources, ends)
        positions = {tp: await group.position(tp) for tp in ends}
        await worker.process(group, worker.prepare_batch(group, fetched, positions))
        committed = await worker.commit_offsets()
        await group.commit(committed)
        current_ends = await group.end_offsets(list(ends))
        progress(f"{sum(current_ends.values()) - sum(committed.values())} records left")


async def hand_over(producer: AIOKafkaProducer, topics: Topics, former: FormerSettings, config: str) -> None:
    """Record each session's last emitted window under the new settings, then delete the records of the old ones.

    Until the record of the old settings is deleted, an interrupted migration can be run again. It is the first one to
    go: from then on an aligner under the new settings may start, and it ignores what is left of the old ones.
    Raises KafkaError.
    """
    await record_frontiers(producer, topics, former.frontiers, config)
    for partition, keys in former.keys.items():
        for key in sorted(keys, key=lambda key: not alignment_config.is_record_key(key)):
            await (await producer.send(topics.frontier, None, key=key, partition=partition))


async def record_frontiers(
    producer: AIOKafkaProducer, topics: Topics, frontiers: Mapping[int, Mapping[str, int]], config: str
) -> None:
    """Record where sessions are under some settings: start of the last window (us) by generation id.

    frontiers: By partition.

    Raises KafkaError.
    """
    nonce = secrets.token_hex(4)
    for partition, starts in frontiers.items():
        sent = [
            await producer.send(
                topics.frontier,
                last_emitted_window.encode(LastEmittedWindow.of(session, start_us, config)),
                key=last_emitted_window.key(session, nonce),
                partition=partition,
            )
            for session, start_us in sorted(starts.items())
        ]
        await asyncio.gather(*sent)


async def _wait_for_assignment(group: AIOKafkaConsumer, count: int) -> None:
    deadline = asyncio.get_running_loop().time() + ASSIGNED_WITHIN_S
    while len(group.assignment()) < count:
        if asyncio.get_running_loop().time() > deadline:
            raise MigrationError(
                "Settings were not migrated.",
                f"Only {len(group.assignment())} of {count} partitions were assigned: another aligner is running.",
                "Stop all aligners, then run this again.",
            )
        await asyncio.sleep(POLL_MS / 1000)


def _sources(
    fetched: Mapping[TopicPartition, list[ConsumerRecord]], ends: Mapping[TopicPartition, int]
) -> set[tuple[str, str]]:
    """Return session and source of what devices sent after the start; idle records and ends of sessions do not count."""
    return {
        ((record.key or b"").decode(errors="replace"), _source(record))
        for tp, records in fetched.items()
        for record in records
        if record.offset >= ends[tp] and record.key is not None
        if cloudevents.raw_type(record.headers) != cloudevents.SESSION_END_TYPE.encode()
    }


def _source(record: ConsumerRecord) -> str:
    return next((raw.decode(errors="replace") for name, raw in record.headers if name == "ce_source" and raw), "?")


async def _still_sending(
    group: AIOKafkaConsumer, sources: set[tuple[str, str]], ends: Mapping[TopicPartition, int]
) -> MigrationError:
    """Read on for some seconds, so that the error names all sources."""
    deadline = asyncio.get_running_loop().time() + NAME_SOURCES_FOR_S
    while asyncio.get_running_loop().time() < deadline:
        sources |= _sources(await group.getmany(timeout_ms=POLL_MS), ends)
    names = ", ".join(f"{source} (session {session})" for session, source in sorted(sources))
    return MigrationError(
        "Settings were not migrated.", f"Devices still send: {names}.", "Stop them, then run this again."
    )
