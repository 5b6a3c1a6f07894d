"""How much is in flight: records that stand in the logs and are not covered by a commit yet, asked of the broker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from services.kafka import clients
from services.runtime.settings import Settings

ANSWER_WITHIN_S = 10.0
AGAIN_S = 0.1


@dataclass(frozen=True, slots=True)
class Flight:
    """Records between the committed floors and the ends of the logs, of each service's input."""

    aligner: int
    fusion: int


async def measure(settings: Settings) -> Flight:
    """Ask the broker. Raises KafkaError or TimeoutError where it does not answer."""
    topics, group = settings.topic_names(), settings.kafka.group_prefix
    async with asyncio.timeout(ANSWER_WITHIN_S):
        return Flight(
            await _behind(settings, f"{group}-aligner", topics.media_all),
            await _behind(settings, f"{group}-fusion", (topics.windows,)),
        )


async def measured(settings: Settings, within_s: float) -> Flight | None:
    """Ask until the broker answers; None where it does not within that time."""
    deadline = asyncio.get_running_loop().time() + within_s
    while asyncio.get_running_loop().time() < deadline:
        try:
            return await measure(settings)
        except (KafkaError, TimeoutError):
            await asyncio.sleep(AGAIN_S)
    return None


async def _behind(settings: Settings, group: str, names: tuple[str, ...]) -> int:
    # A consumer that subscribes to nothing is no member of the group: it may ask for its commits.
    consumer = clients.make_group_consumer(settings.kafka.bootstrap_servers, group, "")
    try:
        await consumer.start()
        logs = [TopicPartition(name, number) for name in names for number in range(settings.topics.partitions)]
        committed = [await consumer.committed(log) or 0 for log in logs]
        ends = await consumer.end_offsets(logs)
        return sum(ends[log] - offset for log, offset in zip(logs, committed, strict=True))
    finally:
        await consumer.stop()
