"""A worker's consumer lag: window records that it has not handled, those at the broker included."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

REFRESH_US = 100_000


class ConsumerLag:
    """Asks for the end offsets of the logs from time to time, and never waits for the answer.

    The consumer's own high-water marks are as old as its last fetch, which may hold more than a minute's work.
    """

    def __init__(self) -> None:
        self._ends: dict[TopicPartition, int] = {}
        self._request: asyncio.Task[dict[TopicPartition, int]] | None = None
        self._next_us = 0

    def refresh(self, group: AIOKafkaConsumer, logs: Collection[TopicPartition], now_us: int) -> None:
        """Take the end offsets that have arrived, and ask again if it is time to."""
        if self._request is not None and self._request.done():
            request, self._request = self._request, None
            # If the broker is unreachable, keep the last known end offsets.
            if request.exception() is None:
                self._ends = request.result()
            elif not isinstance(request.exception(), KafkaError):
                request.result()
        if self._request is None and now_us >= self._next_us and logs:
            self._request = asyncio.ensure_future(group.end_offsets(list(logs)))
            self._next_us = now_us + REFRESH_US

    def records(self, positions: Mapping[TopicPartition, int]) -> int:
        """Return the number of records between these positions and the last known end offsets."""
        return sum(max(self._ends.get(tp, 0) - position, 0) for tp, position in positions.items())

    async def stop(self) -> None:
        """Cancel the request that is under way."""
        if self._request is not None:
            self._request.cancel()
            await asyncio.gather(self._request, return_exceptions=True)
            self._request = None
