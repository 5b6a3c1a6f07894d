"""Drain: closes everything under the settings that opened it, then hands each session over to the settings in force.

It is an aligner under the old settings without the service around it, from the committed floors until every floor is
the end of its log. Then each session's frontier is written anew under the new settings; from there on an aligner with
these finds only windows that are covered, and goes on behind them.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from services.aligner.worker import Worker
from services.contract import envelope, frontier, owned
from services.contract.frontier import Frontier
from services.contract.semantics import Semantics
from services.contract.topics import Topics
from services.runtime.log_range import read_range

POLL_MS = 100
NAME_FOR_S = 3.0
ASSIGNED_WITHIN_S = 30.0


class CannotDrain(Exception):
    """Why not, and what to do."""


@dataclass(slots=True)
class Found:
    """What the frontier topic tells: settings other than ours by digest, and each session's furthest start under them."""

    semantics: dict[str, Semantics] = field(default_factory=dict)
    unreadable: set[str] = field(default_factory=set)
    frontiers: dict[int, dict[str, int]] = field(default_factory=dict)
    keys: dict[int, list[bytes]] = field(default_factory=dict)

    @property
    def sessions(self) -> int:
        return sum(map(len, self.frontiers.values()))


async def look(reader: AIOKafkaConsumer, topics: Topics, numbers: Iterable[int], config: str) -> Found:
    """Read the frontier topic for what other settings left there. Raises KafkaError."""
    found = Found()
    for number in numbers:
        kept: dict[bytes, bytes] = {}
        async for record in read_range(reader, TopicPartition(topics.frontier, number)):
            kept[record.key] = record.value
        frontiers = found.frontiers.setdefault(number, {})
        keys = found.keys.setdefault(number, [])
        for key, value in kept.items():
            if value is None:
                continue
            if owned.is_key(key):
                semantics = owned.read(value)
                if semantics is None:
                    found.unreadable.add(key.decode(errors="replace").rpartition("\0")[2])
                elif semantics.config != config:
                    found.semantics[semantics.config] = semantics
                    keys.append(key)
            elif (told := frontier.read(value)) is not None and told.config != config:
                frontiers[told.session] = max(told.start_us, frontiers.get(told.session, told.start_us))
                keys.append(key)
    return found


async def close_all(
    group: AIOKafkaConsumer, worker: Worker, topics: Topics, count: int, tell: Callable[[str], None]
) -> None:
    """Read the media logs to their ends with an aligner under the old settings, until no window is open.

    Raises CannotDrain where a device sends meanwhile or another aligner is at work, KafkaError.
    """
    await _assigned(group, len(topics.modalities) * count)
    ends = await group.end_offsets([TopicPartition(t, n) for t in topics.media_all for n in range(count)])
    for tp, offset in (await worker.adopt(group, range(count))).items():
        group.seek(tp, offset)
    floors: Mapping[TopicPartition, int] = {}
    now = ends
    while floors != now:
        fetched = await group.getmany(timeout_ms=POLL_MS)
        if sources := _sources(fetched, ends):
            raise CannotDrain(await _still_sending(group, sources, ends))
        await worker.process(group, worker.sort(group, fetched))
        floors = await worker.floors()
        await group.commit(floors)
        now = await group.end_offsets(list(ends))
        tell(f"{sum(now.values()) - sum(floors.values())} records are held or unread")


async def hand_over(producer: AIOKafkaProducer, topics: Topics, found: Found, config: str) -> None:
    """Write each session's frontier under our settings, then take away what told of the old ones.

    In this order a drain that is cut off can be run again: until the old settings' record is gone nothing is lost.
    Raises KafkaError.
    """
    nonce = secrets.token_hex(4)
    for number, frontiers in found.frontiers.items():
        told = [Frontier(session, start_us, config) for session, start_us in sorted(frontiers.items())]
        sent = [
            await producer.send(
                topics.frontier, frontier.encode(f), key=frontier.key(f.session, nonce), partition=number
            )
            for f in told
        ]
        await asyncio.gather(*sent)
    for number, keys in found.keys.items():
        for key in sorted(keys, key=lambda key: not owned.is_key(key)):
            await (await producer.send(topics.frontier, None, key=key, partition=number))


async def _assigned(group: AIOKafkaConsumer, count: int) -> None:
    """Wait until all partitions are ours."""
    deadline = asyncio.get_running_loop().time() + ASSIGNED_WITHIN_S
    while len(group.assignment()) < count:
        if asyncio.get_running_loop().time() > deadline:
            raise CannotDrain(
                f"{len(group.assignment())} of {count} partitions were assigned: another aligner is at work, stop it first"
            )
        await asyncio.sleep(POLL_MS / 1000)


def _sources(
    fetched: Mapping[TopicPartition, list[ConsumerRecord]], ends: Mapping[TopicPartition, int]
) -> set[tuple[str, str]]:
    """Session and source of what devices sent after we began; ticks and ends of sessions are none."""
    return {
        ((record.key or b"").decode(errors="replace"), _source(record))
        for tp, records in fetched.items()
        for record in records
        if record.offset >= ends[tp] and record.key is not None
        if envelope.type_of(record.headers) != envelope.SESSION_END_TYPE.encode()
    }


def _source(record: ConsumerRecord) -> str:
    return next((value.decode(errors="replace") for name, value in record.headers if name == "ce_source"), "?")


async def _still_sending(
    group: AIOKafkaConsumer, sources: set[tuple[str, str]], ends: Mapping[TopicPartition, int]
) -> str:
    """Listen a little longer, so that all of them can be named."""
    deadline = asyncio.get_running_loop().time() + NAME_FOR_S
    while asyncio.get_running_loop().time() < deadline:
        sources |= _sources(await group.getmany(timeout_ms=POLL_MS), ends)
    named = "\n".join(f"  {source} (session {session})" for session, source in sorted(sources))
    return f"devices still send, stop them first; nothing was changed over:\n{named}"
