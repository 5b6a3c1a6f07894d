"""Clients of a service that waits for the broker to be there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from services.kafka import clients
from services.runtime.health import Progress

AGAIN_S = 0.5
T = TypeVar("T")
_log = logging.getLogger(__name__)


@asynccontextmanager
async def producer(
    broker: clients.BrokerAddress, partitions: int, progress: Progress
) -> AsyncIterator[AIOKafkaProducer]:
    """Yield a producer of media once the broker is there; until then the service is not ready, and says why.

    It lives as long as the service, so it is not idempotent: it gives up after 20 s and then goes on with other records.
    A copy of a record with the same id is a duplicate to alignment.
    """

    async def start() -> AIOKafkaProducer:
        client = clients.make_producer(broker, idempotent=False, partitions=partitions)
        try:
            await client.start()
        except BaseException:
            await client.stop()
            raise
        return client

    client = await started(start, progress)
    try:
        yield client
    finally:
        await client.stop()


async def started(start: Callable[[], Awaitable[T]], progress: Progress) -> T:
    """What `start` gives once the broker is there; it is called again and again until then."""
    while True:
        try:
            result = await start()
            break
        except KafkaError as error:
            progress.not_ready["broker"] = "the broker cannot be reached"
            progress.beat()
            _log.warning("the broker cannot be reached: waiting for it", extra={"why": str(error)})
            await asyncio.sleep(AGAIN_S)
    progress.not_ready.pop("broker", None)
    return result
