"""Records in flight: in the logs and not committed yet; and the work that was done."""

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
class InFlight:
    """The number of records between commit and end of the input logs, for each service."""

    aligner: int
    fusion: int


async def measure_in_flight(settings: Settings) -> InFlight:
    """Ask the broker. Raises KafkaError or TimeoutError if it does not respond."""
    topics, group = settings.topic_names(), settings.kafka.group_prefix
    async with asyncio.timeout(ANSWER_WITHIN_S):
        return InFlight(
            await _uncommitted(settings, f"{group}-aligner", topics.media_all),
            await _uncommitted(settings, f"{group}-fusion", (topics.windows,)),
        )


async def count_outputs(settings: Settings) -> tuple[int, int]:
    """Return how many windows and how many predictions were written so far. Raises KafkaError or TimeoutError."""
    topics, numbers = settings.topic_names(), range(settings.topics.partitions)
    async with asyncio.timeout(ANSWER_WITHIN_S), clients.reader(settings.kafka.bootstrap_servers) as reader:
        ends = await reader.end_offsets(
            [TopicPartition(t, n) for t in (topics.windows, topics.predictions) for n in numbers]
        )
    windows, predictions = (
        sum(end for tp, end in ends.items() if tp.topic == t) for t in (topics.windows, topics.predictions)
    )
    return windows, predictions


async def wait_for_in_flight(settings: Settings, within_s: float) -> InFlight | None:
    """Ask until the broker responds, or return None after the deadline."""
    deadline = asyncio.get_running_loop().time() + within_s
    while asyncio.get_running_loop().time() < deadline:
        try:
            return await measure_in_flight(settings)
        except (KafkaError, TimeoutError):
            await asyncio.sleep(AGAIN_S)
    return None


async def _uncommitted(settings: Settings, group: str, names: tuple[str, ...]) -> int:
    # A consumer without a subscription can read the commits of a group without joining it.
    consumer = clients.make_group_consumer(settings.kafka.bootstrap_servers, group, "", settings.topics.partitions)
    try:
        await consumer.start()
        logs = [TopicPartition(name, number) for name in names for number in range(settings.topics.partitions)]
        committed = [await consumer.committed(log) or 0 for log in logs]
        ends = await consumer.end_offsets(logs)
        return sum(ends[log] - offset for log, offset in zip(logs, committed, strict=True))
    finally:
        await consumer.stop()
