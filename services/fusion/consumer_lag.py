"""How far behind a worker is: window records that it has not handled, those still at the broker included."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

REFRESH_US = 100_000


class ConsumerLag:
    """Asks for the ends of the logs every so often, and never waits for the answer.

    The consumer's own high-water marks are of its last fetch, which may hold more than a minute's work.
    """

    def __init__(self) -> None:
        self._ends: dict[TopicPartition, int] = {}
        self._asking: asyncio.Task[dict[TopicPartition, int]] | None = None
        self._next_us = 0

    def refresh(self, group: AIOKafkaConsumer, logs: Collection[TopicPartition], now_us: int) -> None:
        """Take in what was told, and ask again where it is time to."""
        if self._asking is not None and self._asking.done():
            asked, self._asking = self._asking, None
            # A broker that is away tells nothing; what it told before is as good as there is.
            if asked.exception() is None:
                self._ends = asked.result()
            elif not isinstance(asked.exception(), KafkaError):
                asked.result()
        if self._asking is None and now_us >= self._next_us and logs:
            self._asking = asyncio.ensure_future(group.end_offsets(list(logs)))
            self._next_us = now_us + REFRESH_US

    def records(self, positions: Mapping[TopicPartition, int]) -> int:
        """Records between these positions and the ends as last told."""
        return sum(max(self._ends.get(tp, 0) - position, 0) for tp, position in positions.items())

    async def stop(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.gather(self._asking, return_exceptions=True)
            self._asking = None
