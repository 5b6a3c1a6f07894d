"""Migration of sessions to new alignment settings.

An aligner runs under the old settings, without a service around it, from the committed offsets to the ends of the media
topics, until no window is open. Then each session's last emitted window is recorded under the new settings: an aligner
under these finds windows up to there done and continues after them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from services.aligner.worker import AlignerWorker
from services.contract import alignment_config, cloudevents, last_emitted_window
from services.contract.alignment_config import AlignmentConfig
from services.contract.last_emitted_window import LastEmittedWindow
from services.contract.topics import Topics
from services.contract.user_errors import BraidError
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
    """

    semantics: dict[str, AlignmentConfig] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    frontiers: dict[int, dict[str, int]] = field(default_factory=dict)
    keys: dict[int, list[bytes]] = field(default_factory=dict)

    @property
    def sessions(self) -> int:
        """Count the sessions."""
        return sum(map(len, self.frontiers.values()))


async def read_former_settings(
    reader: AIOKafkaConsumer, topics: Topics, partitions: Iterable[int], config: str
) -> FormerSettings:
    """Read from the frontier topic what belongs to other settings than `config`. Raises KafkaError."""
    former = FormerSettings()
    for partition in partitions:
        newest: dict[bytes, bytes] = {}
        async for record in read_range(reader, TopicPartition(topics.frontier, partition)):
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
            elif (last := last_emitted_window.decode_or_none(value)) is not None and last.config != config:
                frontiers[last.session] = max(last.start_us, frontiers.get(last.session, last.start_us))
                keys.append(key)
    return former


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
    nonce = secrets.token_hex(4)
    for partition, frontiers in former.frontiers.items():
        records = [LastEmittedWindow(session, start_us, config) for session, start_us in sorted(frontiers.items())]
        sent = [
            await producer.send(
                topics.frontier,
                last_emitted_window.encode(f),
                key=last_emitted_window.key(f.session, nonce),
                partition=partition,
            )
            for f in records
        ]
        await asyncio.gather(*sent)
    for partition, keys in former.keys.items():
        for key in sorted(keys, key=lambda key: not alignment_config.is_record_key(key)):
            await (await producer.send(topics.frontier, None, key=key, partition=partition))


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
    return next((value.decode(errors="replace") for name, value in record.headers if name == "ce_source"), "?")


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
